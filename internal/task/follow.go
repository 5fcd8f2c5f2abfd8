package task

// Follower is an operator that goes by Kafka Streams' time of a whole task: the largest event time among all records that
// the task has read, whatever has become of them.
type Follower interface {
	// Follow is told the time of each record that lies ahead of all others, once the record has been processed.
	Follow(c *Ctx, t int64)
}

// AddFollower adds an operator that goes by the time of the task.
func (t *Task) AddFollower(o Follower) { t.followers = append(t.followers, o) }

// follow tells the followers of a record of a port, which is behind the task.
func (t *Task) follow(p *Port) {
	at := p.seen
	if p.Spec.Repartition {
		at = t.ctx.Time
	}
	if at <= t.ahead || t.err != nil {
		return
	}
	defer t.recoverTimer()
	t.ahead = at
	c := &t.ctx
	c.Port = nil
	for _, o := range t.followers {
		o.Follow(c, at)
	}
}
