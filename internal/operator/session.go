package operator

import (
	"fmt"
	"math"
	"slices"

	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/internal/task"
)

// Session keeps one aggregate per key and session; see window.Session for what a session is. A record makes a session
// of its own, from its time to the end of its gap, which is merged with all open sessions of its key that it touches.
// So the sessions of a key never touch one another, and their list is in order by start and by end alike.
type Session[K comparable, A any] struct {
	windows keyWindows[K, A]
	gap     func() int64
	merge   func(*A, A)
	work    span[A] // the session of the record at hand: a variable would be allocated each time, since functions get a pointer to it
}

// NewSession adds the operator to a task. gap is in ms. merge adds the aggregate of a later session to that of an
// earlier one.
func NewSession[K comparable, A any](t *task.Task, clock *task.Clock, s KeyWindowSpec[K, A], gap func() int64, merge func(*A, A)) *Session[K, A] {
	o := &Session[K, A]{gap: gap, merge: merge}
	o.windows.init(t, clock, s)
	o.windows.register()
	return o
}

// Process takes a record.
func (o *Session[K, A]) Process(c *task.Ctx, k K) { o.Take(c, k, c.Time, 1) }

// Take takes n records of a session as one, whose times are from this to c.Time; see GatherSessions.
func (o *Session[K, A]) Take(c *task.Ctx, k K, from int64, n uint64) {
	c.Enter(o.windows.Op)
	gap := o.gap()
	if gap <= 0 {
		c.Reject(fmt.Errorf("the gap of its session is %d ms: it must be at least 1 ms", gap), nil)
		return
	}
	to := c.Time + gap
	e := o.windows.entry(c, k)
	if e == nil {
		return
	}
	// Those from i to j touch the record's.
	list := e.val
	i := 0
	for i < len(list) && list[i].to < from {
		i++
	}
	j := i
	reach := to
	if plant.Is("session") {
		reach-- // a distance of just the gap does not merge
	}
	for j < len(list) && list[j].from <= reach {
		j++
	}
	s := &o.work
	scheduled := int64(math.MaxInt64) // when the key is looked at, at the latest
	switch {
	case i < j:
		scheduled = o.windows.needed(&list[i])
		c.Pass(o.windows.Op)
		from, to = min(from, list[i].from), max(to, list[j-1].to)
		o.merged(c, k, list[i:j], from)
		o.windows.Update(&s.val, s.empty)
	case to+o.windows.Grace <= o.windows.watermark():
		o.windows.release(e)
		o.windows.late(c, k, from, to)
		c.AlsoLate(o.windows.Op, n-1)
		return
	default:
		c.Pass(o.windows.Op)
		*s = span[A]{time: from}
		o.windows.Update(&s.val, true)
	}
	s.from, s.to = from, to
	fires := o.windows.trigger(s, c.Time)
	o.windows.counted(s, c.Time, n)
	if j == i+1 {
		list[i] = *s
	} else {
		list = slices.Replace(list, i, j, *s)
	}
	*s = span[A]{}                               // what it holds is the session's alone
	if o.windows.needed(&list[i]) >= scheduled { // most only grow
		o.windows.put(e, list)
	} else {
		o.windows.keep(e, list)
	}
	o.windows.updated(c, k, &e.val[i])
	if fires {
		o.windows.fire(c, k, e, i)
	}
}

// merged makes one session of several, the earliest first, in o.work. Those that do not start where it does are retracted. It
// counts changes from the largest number among them, so that the numbers of a start never fall.
func (o *Session[K, A]) merged(c *task.Ctx, k K, list []span[A], from int64) {
	for _, x := range list {
		if x.from != from {
			o.windows.retract(c, k, x)
		}
	}
	s := &o.work
	*s = list[0]
	s.sent, s.paced, s.fired = s.sent && s.from == from, s.paced && s.from == from, s.fired && s.from == from
	for _, x := range list[1:] {
		switch {
		case x.empty:
		case s.empty:
			s.val, s.empty = x.val, false
		default:
			o.merge(&s.val, x.val)
		}
		s.time, s.revision = max(s.time, x.time), max(s.revision, x.revision)
		s.mergeTrigger(&x)
	}
}
