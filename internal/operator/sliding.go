package operator

import (
	"math"
	"slices"

	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/internal/task"
)

// Sliding keeps one aggregate per key and sliding (or trailing) window; see window.Sliding.
//
// Imagine a window of the length Size that moves along the time line. What it holds changes at two kinds of places: a
// record at t comes in when the window starts at t-Size+1, and has dropped out when it starts at t+1. Between such
// places the content stays the same. The list of a key has one window for each of these places at which the content is
// not empty; so what a window holds that starts anywhere is known: what the last one holds that starts there or before,
// unless all of that has dropped out since, which the largest time in it tells.
//
// That is how a new record's own windows begin: with a copy of that content. The record is then added to every window
// that it is in. What is copied are aggregates; records are not kept.
//
// The last of the closed windows of a key stays in the list for the same reason: a later record may need its content,
// or to know of its last record. It takes records too, and is never emitted again.
type Sliding[K comparable, A any] struct {
	windows  keyWindows[K, A]
	size     int64 // ms, of [from, to)
	trailing bool
}

// NewSliding adds the operator to a task. trailing says that only those windows count that end with a record.
func NewSliding[K comparable, A any](t *task.Task, clock *task.Clock, s KeyWindowSpec[K, A], size int64, trailing bool) *Sliding[K, A] {
	o := &Sliding[K, A]{size: size, trailing: trailing}
	o.windows.init(t, clock, s)
	o.windows.ends = func(s *span[A]) int64 {
		if s.closed {
			return s.time + 1 + o.size + o.windows.Grace // when even the window has closed that its last record has dropped out of
		}
		return s.to + o.windows.Grace
	}
	o.windows.shown = func(s *span[A]) bool { return !s.closed && (!trailing || s.time == s.to-1) }
	o.windows.retire = o.close
	o.windows.register()
	return o
}

func (o *Sliding[K, A]) close(list []span[A], w int64) (closing, kept []span[A], changed bool) {
	for i := range list {
		s := &list[i]
		if s.closed || s.to+o.windows.Grace > w {
			continue
		}
		changed = true
		if o.windows.shown(s) {
			closing = append(closing, *s)
		}
		s.closed, s.changed, s.waits = true, false, false
	}
	kept = o.prune(list, w)
	return closing, kept, changed || len(kept) < len(list)
}

// prune keeps the last of the closed windows, as long as it is needed, and all others.
func (o *Sliding[K, A]) prune(list []span[A], w int64) []span[A] {
	n := 0
	for n < len(list) && list[n].closed {
		n++
	}
	if n > 0 && o.windows.ends(&list[n-1]) > w {
		n--
	}
	return slices.Delete(list, 0, n)
}

// Process takes a record.
func (o *Sliding[K, A]) Process(c *task.Ctx, k K) {
	c.Enter(o.windows.Op)
	t, w := c.Time, o.windows.watermark()
	if t+o.size+o.windows.Grace <= w {
		o.windows.late(c, k, t, t+o.size)
		return
	}
	e := o.windows.entry(c, k)
	if e == nil {
		return
	}
	c.Pass(o.windows.Op)
	list := e.val
	var made []span[A]
	begin := func(from int64, with bool) {
		s := span[A]{from: from, to: from + o.size, time: math.MinInt64, closed: from+o.size+o.windows.Grace <= w}
		switch n := o.upTo(list, from); {
		case n > 0 && list[n-1].from == from:
			return
		case n > 0 && list[n-1].time >= from:
			var err error
			if s.val, err = o.windows.codec.clone(list[n-1].val); err != nil {
				c.Task.Fail(&task.StateError{Store: o.windows.store.name, Doing: "copy state", Err: err})
				return
			}
			s.time = list[n-1].time
		case !with:
			return
		}
		if with {
			o.windows.Update(&s.val, s.time == math.MinInt64)
			s.time = max(s.time, t)
		}
		o.windows.counted(&s, s.time, 1)
		made = append(made, s)
	}
	left, right := t-o.size+1, t+1
	begin(left, true)
	if before := o.before(list, t); before+1 > left { // it may have dropped out of nothing, until now
		begin(before+1, true)
	}
	if !plant.Is("sliding") { // planted: no window begins where a record has dropped out
		begin(right, false)
	}
	if c.Task.Err() != nil {
		return
	}
	for i := range list {
		if s := &list[i]; s.from <= t && t < s.to && !plant.Is("trailing") { // planted: a record does not change the windows behind it
			o.windows.Update(&s.val, false)
			o.windows.counted(s, t, 1)
		}
	}
	for _, s := range made {
		list = slices.Insert(list, o.upTo(list, s.from), s)
	}
	o.windows.keep(e, o.prune(list, w))
	for i := range e.val {
		if s := &e.val[i]; s.from <= t && t < s.to || s.from == right && len(made) > 0 && made[len(made)-1].from == right {
			o.windows.updated(c, k, s)
		}
	}
}

// upTo is the number of windows that start at from or before.
func (o *Sliding[K, A]) upTo(list []span[A], from int64) int {
	n, _ := slices.BinarySearchFunc(list, from, func(s span[A], from int64) int {
		if s.from <= from {
			return -1
		}
		return 1
	})
	return n
}

// before is the time of the last record before t that the windows know of.
func (o *Sliding[K, A]) before(list []span[A], t int64) int64 {
	before := int64(math.MinInt64)
	for i := range list {
		if s := &list[i]; s.time < t {
			before = max(before, s.time)
		}
	}
	return before
}
