package task

// Advance moves the event time of a source's port as a record of the time ms would. It is for the test driver.
func (t *Task) Advance(p *Port, ms, now int64) error {
	if t.state != Running || t.err != nil {
		return t.err
	}
	t.Now, p.lastRead, t.touched = now, now, true
	p.Observe(ms)
	if p.seen > p.Time.Max || p.Input.Idle {
		t.observe(p)
	}
	return t.err
}
