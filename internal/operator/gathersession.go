package operator

import (
	"math"

	"github.com/millstream-go/millstream/internal/eventtime"
	"github.com/millstream-go/millstream/internal/task"
)

// GatherSessions is Gather for sessions, which are not known before the exchange: it sends the aggregates of records that are of
// one session whatever else there is, since each is within the gap of another.
//
// Whether a record is late, and what has closed that it would have touched, hangs on the watermark behind the exchange, and that on
// when it moves between two records. But a record whose time is after the watermark less the grace period cannot tell: no
// session that has closed reaches so far. The watermark there is not beyond the one that this task has sent last. So records after
// that may be added up, in any order, as long as they are sent before the next one; in memory that is after each step, through a topic
// at the end of the epoch. Any other record is sent alone, between what its key had before it and what comes after, and
// after the step: other tasks' watermarks may decide about it.
type GatherSessions[K comparable, A any] struct {
	*Gather[K, A]
	clock *task.Clock
	gap   int64 // ms
	grace int64
	w     int64 // that other tasks may have been told
}

// NewGatherSessions adds the operator to a task. Without hand it writes to a topic.
func NewGatherSessions[K comparable, A any](t *task.Task, clock *task.Clock, to Lane, hand Hand[K], s GatherSpec[K, A], gap, grace int64) *GatherSessions[K, A] {
	o := &GatherSessions[K, A]{Gather: NewGather(t, to, hand, s), clock: clock, gap: gap, grace: grace, w: eventtime.None}
	o.sessions = true
	return o
}

// Process takes a record.
func (o *GatherSessions[K, A]) Process(c *task.Ctx, k K) {
	c.Enter(o.Lane.Op)
	in := o.last
	if in == nil {
		in = o.cell(0)
		o.w = max(o.w, o.clock.Latest())
	}
	i, ok := o.of(c, in, k)
	if !ok {
		return
	}
	alone := o.w != eventtime.None && c.Time <= o.w-o.grace
	if x := in.list[i]; x.records > 0 && (alone || x.alone || c.Time < x.from-o.gap || c.Time > x.time+o.gap) {
		i = o.another(in, partial[K, A]{k: k, key: x.key, keyLen: x.keyLen, partition: x.partition})
	}
	o.take(c, in, i)
	in.list[i].alone = alone
	if alone {
		o.closes = math.MinInt64
	}
}

// Due implements task.Gatherer.
func (o *GatherSessions[K, A]) Due(sent, now int64) bool { return o.closes <= sent || now > sent }
