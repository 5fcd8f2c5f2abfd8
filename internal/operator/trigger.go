package operator

import (
	"cmp"
	"math"
	"slices"

	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/window"
)

// Trigger says when windows fire; see window.Trigger. Every is in ms. The zero Trigger never fires.
type Trigger struct {
	Count uint64
	Every int64
	End   bool
	Purge bool
}

// firing is a result that is due because time has moved.
type firing[K comparable, A any] struct {
	closing[K, A]
	at int64
}

// trigger says that a window is to take a record of the time t. It returns whether it fires with it. It is called before
// the window counts the record.
func (o *keyWindows[K, A]) trigger(s *span[A], t int64) (fires bool) {
	tr := o.Trigger
	s.empty = false
	over := s.to <= o.watermark()
	switch {
	case tr.End && over:
		fires = !plant.Is("trigger") // planted: there are no corrections
	case tr.End:
		s.ending = true
	}
	if tr.Every > 0 && !over && !s.armed {
		s.arm(t, tr)
	}
	if tr.Count > 0 {
		if s.count++; s.count >= tr.Count {
			s.count, fires = 0, true
		}
	}
	return fires
}

// arm sets the time that a window fires at next: the first multiple after t. One that is not within the window stays for
// good, unless the window grows.
func (s *span[A]) arm(t int64, tr Trigger) {
	m := t % tr.Every
	if m < 0 {
		m += tr.Every
	}
	s.fire, s.armed = t-m+tr.Every, true
}

// mergeTrigger takes over where another window stands, which is merged into this one.
func (s *span[A]) mergeTrigger(x *span[A]) {
	s.count += x.count
	switch {
	case x.armed && s.armed:
		s.fire = min(s.fire, x.fire)
	case x.armed:
		s.fire, s.armed = x.fire, true
	}
	s.ending = s.ending || x.ending
}

// next is what a window fires at next as time moves, or math.MaxInt64. It fires when the watermark is past it.
func (s *span[A]) next() int64 {
	at := int64(math.MaxInt64)
	if s.ending {
		at = s.to - 1
	}
	if s.armed && s.fire < s.to {
		at = min(at, s.fire)
	}
	return at
}

// needed is the watermark at which there is something to do for a window.
func (o *keyWindows[K, A]) needed(s *span[A]) int64 {
	if at := s.next(); at < math.MaxInt64 {
		return min(at+1, o.ends(s))
	}
	return o.ends(s)
}

// resultTime is the event time of a result that stands for the whole window: its last instant, if it has one.
func (o *keyWindows[K, A]) resultTime(s *span[A]) int64 {
	if s.to == math.MaxInt64 {
		return s.time
	}
	return s.to - 1
}

// fire emits the window i of a key, with the record at hand.
func (o *keyWindows[K, A]) fire(c *task.Ctx, k K, e *entry[K, []span[A]], i int) {
	s := &e.val[i]
	s.fired = true
	if o.OnFire != nil {
		t := c.Time
		c.Time = o.resultTime(s)
		o.OnFire(c, k, s.result(false), s.val)
		c.Time, c.Op = t, o.Op
	}
	if o.Trigger.Purge {
		s.purge()
	}
}

// purge makes a window begin anew.
func (s *span[A]) purge() {
	var zero A
	s.val, s.empty, s.waits, s.changed = zero, true, false, false
}

// fireAt notes what the windows of a key fire with on the way to the watermark w.
func (o *keyWindows[K, A]) fireAt(k K, list []span[A], w int64) (fired bool) {
	for i := range list {
		s := &list[i]
		for at := s.next(); at < w; at = s.next() {
			fired = true
			if s.ending && at == s.to-1 {
				s.ending = false
			}
			if s.armed && at == s.fire {
				switch s.armed = false; {
				case o.Trigger.Every == 0: // the trigger has changed
				case s.empty:
					s.arm(w-1, o.Trigger) // there is nothing to emit on the way
				default:
					s.arm(at, o.Trigger)
				}
			}
			if s.empty {
				continue
			}
			s.fired = true
			if o.OnFire != nil {
				o.fires = append(o.fires, firing[K, A]{closing[K, A]{k: k, s: *s}, at})
			}
			if o.Trigger.Purge {
				s.purge()
			}
		}
	}
	return fired
}

// emitFires emits what was noted, in the order of (time to fire at, key).
func (o *keyWindows[K, A]) emitFires(c *task.Ctx) {
	if len(o.fires) == 0 {
		return
	}
	var r ranks
	for i := range o.fires {
		var err error
		if o.fires[i].key, err = o.store.keys.Append(nil, o.fires[i].k); err != nil {
			c.Task.Fail(&task.StateError{Store: o.store.name, Doing: "encode key", Err: err})
			return
		}
		r.add(o.fires[i].at, o.fires[i].key)
	}
	arrange(o.fires, r)
	t, key, h := c.Time, c.Key, c.Headers
	for i := range o.fires {
		x := &o.fires[i]
		c.Op, c.Time, c.Key, c.Headers = o.Op, x.s.to-1, x.key, nil
		if x.s.to == math.MaxInt64 {
			c.Time = x.at // it has no end
		}
		o.OnFire(c, x.k, x.s.result(false), x.s.val)
	}
	c.Time, c.Key, c.Headers = t, key, h
	clear(o.fires)
	o.fires = o.fires[:0]
}

// Triggered keeps one aggregate per key and window, for aligned and global windows that have a trigger. Where they stand
// with it belongs to each key, so that they are kept with the windows of a key, not with those of a time as in Windowed.
type Triggered[K comparable, A any] struct {
	windows keyWindows[K, A]
	aligned *window.Alignment // nil: global
	firing  []window.Span     // with the record at hand
}

// NewTriggered adds the operator to a task. With no windows there is one for each key, without an end, which closes when
// there was no record for the spec's Grace (0: never).
func NewTriggered[K comparable, A any](t *task.Task, clock *task.Clock, s KeyWindowSpec[K, A], windows *window.Alignment) *Triggered[K, A] {
	o := &Triggered[K, A]{aligned: windows}
	o.windows.init(t, clock, s)
	if windows == nil {
		o.windows.ends = func(s *span[A]) int64 {
			if o.windows.Grace == 0 {
				return math.MaxInt64
			}
			return s.time + o.windows.Grace
		}
	}
	o.windows.register()
	return o
}

// Process takes a record.
func (o *Triggered[K, A]) Process(c *task.Ctx, k K) {
	c.Enter(o.windows.Op)
	e := o.windows.entry(c, k)
	if e == nil {
		return
	}
	o.firing = o.firing[:0]
	if o.aligned == nil {
		c.Pass(o.windows.Op)
		o.take(c, k, e, window.Span{From: math.MinInt64, To: math.MaxInt64})
		o.fireAll(c, k, e)
		return
	}
	w, last, taken := o.windows.watermark(), o.aligned.Last(c.Time), false
	for at := o.aligned.First(c.Time); at <= last; at += o.aligned.Advance {
		s := o.aligned.Span(at)
		if s.To+o.windows.Grace > w {
			if !taken {
				taken = true
				c.Pass(o.windows.Op)
			}
			o.take(c, k, e, s)
		}
	}
	if !taken {
		o.windows.release(e)
		s := o.aligned.Span(last)
		o.windows.late(c, k, s.From, s.To)
		return
	}
	o.fireAll(c, k, e)
}

// fireAll emits the windows that fire with the record at hand, the last one first, as Flink does.
func (o *Triggered[K, A]) fireAll(c *task.Ctx, k K, e *entry[K, []span[A]]) {
	for _, in := range slices.Backward(o.firing) {
		if i, found := find(e.val, in); found {
			o.windows.fire(c, k, e, i)
		}
	}
}

// find is where a window is in the list, or belongs.
func find[A any](list []span[A], in window.Span) (i int, found bool) {
	return slices.BinarySearchFunc(list, in, func(s span[A], in window.Span) int {
		return cmp.Or(cmp.Compare(s.from, in.From), cmp.Compare(s.to, in.To))
	})
}

// take adds the record to one of its windows.
func (o *Triggered[K, A]) take(c *task.Ctx, k K, e *entry[K, []span[A]], in window.Span) {
	i, found := find(e.val, in)
	s := span[A]{from: in.From, to: in.To, time: c.Time, empty: true}
	if found {
		s = e.val[i]
	}
	o.windows.Update(&s.val, s.empty) // which may panic
	fires := o.windows.trigger(&s, c.Time)
	o.windows.counted(&s, c.Time, 1)
	if found {
		e.val[i] = s
		o.windows.keep(e, e.val)
	} else {
		o.windows.keep(e, slices.Insert(e.val, i, s))
	}
	o.windows.updated(c, k, &e.val[i])
	if fires {
		o.firing = append(o.firing, in)
	}
}
