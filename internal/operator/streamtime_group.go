package operator

import (
	"math"

	"github.com/millstream-go/millstream/internal/task"
)

// RegroupNoNulls is Regroup that leaves out rows whose new key is null, and stale changes.
func RegroupNoNulls[K, G comparable, V any](op int32, key func(K, V) G, next task.KeyedFn[G, Change[V]]) task.KeyedFn[K, Change[V]] {
	null := nullTest[G]()
	if null == nil {
		null = func(G) bool { return false }
	}
	return func(c *task.Ctx, k K, ch Change[V]) {
		c.Enter(op)
		if c.Stale {
			c.Skip(op)
			return
		}
		var from, to G
		if ch.Old != nil {
			if from = key(k, *ch.Old); null(from) {
				ch.Old = nil
			}
		}
		if ch.New != nil {
			if to = key(k, *ch.New); null(to) {
				ch.New = nil
			}
		}
		if ch.Old == nil && ch.New == nil {
			c.Filter(op)
			return
		}
		c.Pass(op)
		switch {
		case ch.Old != nil && ch.New != nil && from == to:
			next(c, to, ch)
		default:
			if ch.Old != nil {
				next(c, from, Change[V]{Old: ch.Old})
			}
			if ch.New != nil {
				next(c, to, Change[V]{New: ch.New})
			}
		}
	}
}

// LastingGroup is a Group as Kafka Streams has it: an aggregate stays when its last row has left, a row cannot be
// subtracted from a group without an aggregate, and each change of a row is one of its group, even if there is nothing
// before and after it. A subtraction or addition whose result is null deletes the aggregate.
type LastingGroup[G comparable, V, A any] struct {
	*Group[G, V, A]
	null func(A) bool
}

// NewLastingGroup adds the operator to a task.
func NewLastingGroup[G comparable, V, A any](t *task.Task, s GroupSpec[G, V, A]) *LastingGroup[G, V, A] {
	return &LastingGroup[G, V, A]{NewGroup(t, s), nullTest[A]()}
}

// Process takes a change of a row.
func (o *LastingGroup[G, V, A]) Process(c *task.Ctx, g G, ch Change[V]) {
	c.Enter(o.Op)
	e, err := o.rows.store.find(o.rows.table, g, 0)
	if err != nil {
		c.Task.Fail(err)
		return
	}
	var was Change[A]
	if !e.live {
		e.time, e.val = math.MinInt64, grouped[A]{}
	} else if o.Old {
		old, err := o.rows.copied(e.val)
		if err != nil {
			c.Task.Fail(err)
			return
		}
		was.Old = &old.val
	}
	at, live := max(e.time, c.Time), e.live
	if ch.Old != nil && live {
		o.Subtract(&e.val.val, *ch.Old)
		live = o.null == nil || !o.null(e.val.val)
	}
	if ch.New != nil {
		if !live {
			e.val.val = *new(A)
		}
		o.Add(&e.val.val, *ch.New)
		live = o.null == nil || !o.null(e.val.val)
	}
	switch {
	case live:
		e.live, e.time, e.val.rows = true, at, 1
		e.revision++
		o.rows.table.touch(e)
		was.New = &e.val.val
	case e.live:
		o.rows.clear(e)
	case !e.changed && e.epoch == 0:
		o.rows.table.remove(e) // made by looking for it
	}
	c.Pass(o.Op)
	if o.Changes != nil {
		t := c.Time
		c.Time = at
		o.Changes(c, g, was)
		c.Time = t
	}
}
