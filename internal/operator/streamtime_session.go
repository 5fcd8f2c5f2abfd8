package operator

import (
	"math"
	"slices"

	"github.com/millstream-go/millstream/internal/task"
)

// streamWindows is keyWindows by stream time: it looks for windows to be closed after each record, at most once per
// interval of wall-clock time. A closed window stays, to be merged or copied again, until it has expired.
type streamWindows[K comparable, A any] struct {
	keyWindows[K, A]
	time *streamTime
	null func(A) bool
	// closes is the stream time at which a window closes, expires that at which a closed one may not be needed any more,
	// and at the time of its final result. prune keeps the windows that are still needed.
	closes, expires, at func(s *span[A]) int64
	prune               func(list []span[A]) []span[A]
	// order is that of final results: by what the last of these says, then by the one before it, then by end and key.
	order []func(*span[A]) int64
}

func (o *streamWindows[K, A]) start(t *task.Task, st StreamTime, s KeyWindowSpec[K, A]) {
	o.time, o.null = newStreamTime(t, s.Store, st), nullTest[A]()
	o.init(t, &o.time.Clock, s)
	o.ends = func(s *span[A]) int64 {
		if s.closed {
			return o.expires(s)
		}
		return o.closes(s)
	}
}

// register adds the windows to their task. Their time is not the task's.
func (o *streamWindows[K, A]) register() {
	o.store.task.AddStateful(o)
	if o.OnCommit != nil {
		o.store.task.AddFlusher(o)
	}
}

// changed notes that a window has taken a record.
func (o *streamWindows[K, A]) changed(s *span[A]) {
	s.revision++
	s.changed = true
	s.waits = o.OnPace != nil
}

// result emits a window that a record has changed; one whose aggregate has become null is retracted.
func (o *streamWindows[K, A]) result(c *task.Ctx, k K, s *span[A]) {
	if o.null == nil || !o.null(s.val) || s.closed {
		o.updated(c, k, s)
		return
	}
	o.retract(c, k, *s)
}

// look closes what is to be closed, and emits the results.
func (o *streamWindows[K, A]) look(c *task.Ctx) {
	if o.OnClose != nil && !o.time.may(c.Task.Now) {
		return
	}
	w := o.time.W
	if o.OnPace != nil && w >= o.paced.due {
		o.emitPaced(c)
	}
	var all []closing[K, A]
	var later []K
	for {
		k, ok := o.schedule.take(w)
		if !ok {
			break
		}
		e := o.entry(c, k)
		if e == nil {
			return
		}
		if !e.live {
			o.release(e)
			continue
		}
		later = append(later, k)
		touched := false
		for i := range e.val {
			if s := &e.val[i]; !s.closed && o.closes(s) <= w {
				all = append(all, closing[K, A]{k: k, s: *s})
				if o.OnClose != nil {
					val, err := o.codec.clone(s.val) // the window goes on
					if err != nil {
						c.Task.Fail(&task.StateError{Store: o.store.name, Doing: "copy state", Err: err})
						return
					}
					all[len(all)-1].s.val = val
				}
				s.closed, s.changed, s.waits, touched = true, false, false, true
			}
		}
		n := len(e.val)
		e.val = o.prune(e.val)
		if touched || len(e.val) < n {
			o.table.touch(e)
		}
		if e.live = len(e.val) > 0; !e.live {
			e.val = nil
			o.schedule.forget(k)
		}
	}
	for _, k := range later {
		if e := o.table.lookup(k); e != nil && e.live {
			due := int64(math.MaxInt64)
			for i := range e.val {
				due = min(due, o.ends(&e.val[i]))
			}
			o.schedule.need(k, max(due, w+1))
		}
	}
	if o.OnClose != nil && len(all) > 0 {
		o.final(c, all)
	}
}

// final emits final results.
func (o *streamWindows[K, A]) final(c *task.Ctx, all []closing[K, A]) {
	if !o.sort(c, all) {
		return
	}
	for _, by := range o.order {
		arrangeBy(all, func(x *closing[K, A]) int64 { return by(&x.s) })
	}
	t, key, h := c.Time, c.Key, c.Headers
	for i := range all {
		x := &all[i]
		if o.null != nil && o.null(x.s.val) {
			continue
		}
		c.Op, c.Time, c.Key, c.Headers = o.Op, o.at(&x.s), x.key, nil
		o.OnClose(c, x.k, x.s.result(true), x.s.val)
	}
	c.Time, c.Key, c.Headers = t, key, h
}

// Restore implements task.Stateful.
func (o *streamWindows[K, A]) Restore(*task.Marker) error {
	if err := o.time.restore(); err != nil {
		return err
	}
	return o.keyWindows.Restore(nil)
}

// Cut implements task.Stateful.
func (o *streamWindows[K, A]) Cut(d *task.Delta) error {
	o.time.cut(d)
	return o.keyWindows.Cut(d)
}

// StreamSession is Session by stream time, as Kafka Streams has it: a session is [first, last], both included. A record
// is merged with the sessions whose distance from it is no more than the gap and that have not expired, closed ones too;
// it is late if what comes of that has closed. The sessions that were merged are retracted, also if only one was made
// longer.
type StreamSession[K comparable, A any] struct {
	windows   streamWindows[K, A]
	gap       func() int64
	merge     func(*A, A)
	retention int64
}

// the largest end of a session that was kept
const newestEnd = numberA

// NewStreamSession adds the operator to a task. A session expires when it is retention or more behind the newest one;
// as long as it has not expired it is merged even if it has closed. longest is the gap (the largest of them).
func NewStreamSession[K comparable, A any](t *task.Task, st StreamTime, s KeyWindowSpec[K, A], gap func() int64, longest, retention int64, merge func(*A, A)) *StreamSession[K, A] {
	o := &StreamSession[K, A]{gap: gap, merge: merge, retention: retention}
	o.windows.start(t, st, s)
	o.windows.closes = func(s *span[A]) int64 { return s.to + longest + o.windows.Grace }
	o.windows.expires = func(s *span[A]) int64 { return s.to - 1 + retention }
	o.windows.prune = func(list []span[A]) []span[A] {
		return slices.DeleteFunc(list, func(s span[A]) bool { return s.closed && o.gone(&s) })
	}
	o.windows.at = func(s *span[A]) int64 { return s.to - 1 }
	o.windows.order = []func(*span[A]) int64{func(s *span[A]) int64 { return s.from }, func(s *span[A]) int64 { return s.to }}
	o.windows.register()
	return o
}

// gone says that a session has expired.
func (o *StreamSession[K, A]) gone(s *span[A]) bool {
	newest := o.windows.time.numbers[newestEnd]
	return newest != math.MinInt64 && s.to-1 <= newest-o.retention
}

// Process takes a record.
func (o *StreamSession[K, A]) Process(c *task.Ctx, k K) {
	c.Op = o.windows.Op
	o.windows.time.turn(c)
	c.Enter(o.windows.Op)
	o.take(c, k)
	if !c.Rejected() && c.Task.Err() == nil {
		o.windows.look(c)
	}
}

func (o *StreamSession[K, A]) take(c *task.Ctx, k K) {
	t, gap := c.Time, o.gap()
	e := o.windows.entry(c, k)
	if e == nil {
		return
	}
	from, end := t, t
	var merged, rest []span[A]
	for _, s := range e.val {
		if s.to-1 < t-gap || s.from > t+gap || o.gone(&s) {
			rest = append(rest, s)
			continue
		}
		merged = append(merged, s)
		from, end = min(from, s.from), max(end, s.to-1)
	}
	if o.windows.time.W > end+o.windows.Grace+gap {
		o.windows.release(e)
		o.windows.late(c, k, from, end+1)
		return
	}
	c.Pass(o.windows.Op)
	for _, by := range o.windows.order {
		arrangeBy(merged, by)
	}
	if from != t || end != t {
		for _, s := range merged {
			o.windows.retract(c, k, s)
		}
	}
	s := span[A]{from: from, to: end + 1, time: end}
	for i, m := range merged {
		s.revision = max(s.revision, m.revision)
		if i == 0 {
			s.val = m.val
		} else {
			o.merge(&s.val, m.val)
		}
	}
	o.windows.Update(&s.val, len(merged) == 0)
	o.windows.changed(&s)
	o.windows.time.set(newestEnd, max(o.windows.time.numbers[newestEnd], end))
	if o.windows.null != nil && o.windows.null(s.val) {
		o.windows.keep(e, rest)
		o.windows.retract(c, k, s)
		return
	}
	at := 0
	for at < len(rest) && rest[at].from < from {
		at++
	}
	o.windows.keep(e, slices.Insert(rest, at, s))
	o.windows.updated(c, k, &e.val[at])
}
