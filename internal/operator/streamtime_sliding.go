package operator

import (
	"slices"

	"github.com/millstream-go/millstream/internal/task"
)

// StreamSliding is Sliding by stream time, as Kafka Streams has it, step by step (KIP-450, its KStreamSlidingWindowAggregate).
//
// The windows of a key are [t-d, t] for each record, and [t+1, t+1+d] as far as it holds something; records before d
// share the window [0, d]. A window takes records as long as its last instant is not before stream time less grace, and
// has its final result, with the largest time of its records, when it is. A record that all its windows are closed for
// is in none, nor in one that is made later, although that may still be open: only here results depend on the order in
// which records are read within the grace period. Where several streams share the windows, see streamTime.newest.
type StreamSliding[K comparable, A any] struct {
	windows streamWindows[K, A]
	d       int64 // time difference, ms
}

// NewStreamSliding adds the operator to a task. The time difference is in ms.
func NewStreamSliding[K comparable, A any](t *task.Task, st StreamTime, s KeyWindowSpec[K, A], difference int64) *StreamSliding[K, A] {
	o := &StreamSliding[K, A]{d: difference}
	o.windows.start(t, st, s)
	o.windows.closes = func(s *span[A]) int64 { return s.to + o.windows.Grace }
	o.windows.expires = func(s *span[A]) int64 { return s.to + 2*difference + o.windows.Grace } // no accepted record looks back so far
	o.windows.prune = func(list []span[A]) []span[A] {
		return slices.DeleteFunc(list, func(s span[A]) bool { return s.closed && o.windows.expires(&s) <= o.windows.time.slowest() })
	}
	o.windows.at = func(s *span[A]) int64 { return s.time }
	o.windows.order = []func(*span[A]) int64{func(s *span[A]) int64 { return s.from }}
	o.windows.register()
	return o
}

// sliding is what a record does to the windows of its key.
type sliding[K comparable, A any] struct {
	o    *StreamSliding[K, A]
	c    *task.Ctx
	k    K
	list []span[A]
	gone int64 // windows that start there or before are gone
}

// Process takes a record.
func (o *StreamSliding[K, A]) Process(c *task.Ctx, k K) {
	c.Op = o.windows.Op
	t := c.Time
	o.windows.time.turn(c)
	c.Enter(o.windows.Op)
	if t+1+o.d+o.windows.Grace <= o.windows.time.W {
		o.windows.late(c, k, t, t+o.d+1)
		return
	}
	e := o.windows.entry(c, k)
	if e == nil {
		return
	}
	c.Pass(o.windows.Op)
	s := &sliding[K, A]{o, c, k, e.val, o.windows.time.newest(2*o.d + o.windows.Grace)}
	if t < o.d {
		s.early(t)
	} else {
		s.usual(t)
	}
	if len(s.list) > 0 {
		o.windows.keep(e, s.list)
	} else {
		o.windows.release(e)
	}
	if !c.Rejected() && c.Task.Err() == nil {
		o.windows.look(c)
	}
}

// usual takes a record at d or later. It goes through the windows that it may touch, the latest first.
func (s *sliding[K, A]) usual(t int64) {
	d := s.o.d
	starts := map[int64]bool{}
	var left, right *span[A] // what the record's own windows begin with
	leftThere, rightThere, before := false, false, int64(-1)
scan:
	for i := s.upTo(t+1) - 1; i >= 0 && s.list[i].from >= max(0, t-2*d, s.gone+1); i-- {
		w := s.list[i]
		starts[w.from] = true
		switch end := w.from + d; {
		case w.from == t+1:
			rightThere = true
		case end > t:
			if right == nil {
				right = s.copy(&w)
			}
			s.add(i, t)
		case end == t:
			leftThere = true
			s.add(i, t)
			if w.time >= t {
				return
			}
			before = w.time
		default:
			left, before = s.copy(&w), w.time
			break scan
		}
	}
	if before >= 0 && !starts[before+1] && before+1+d >= t {
		s.make(before+1, nil, t)
	}
	if !leftThere {
		if before < t-d {
			left = nil
		}
		s.make(t-d, left, t)
	}
	if !rightThere {
		s.right(t, right)
	}
}

// early takes a record before d.
func (s *sliding[K, A]) early(t int64) {
	starts := map[int64]bool{}
	var right, first *span[A]
	rightThere, before := false, int64(-1)
	for i := 0; i < len(s.list) && s.list[i].from <= t+1; i++ {
		w := s.list[i]
		if w.from <= s.gone {
			continue
		}
		starts[w.from] = true
		switch {
		case w.from == 0:
			first = s.copy(&w)
			if w.time < t {
				before = w.time
			}
		case w.from <= t:
			right = s.copy(&w)
			s.add(i, t)
		default:
			rightThere = true
		}
	}
	if right == nil && first != nil && first.time > t {
		right = first
	}
	if !rightThere {
		s.right(t, right)
	}
	if before >= 0 && !starts[before+1] {
		s.make(before+1, nil, t)
	}
	if i := s.upTo(0) - 1; i >= 0 && s.gone < 0 {
		s.add(i, t)
	} else {
		s.make(0, nil, t)
	}
}

// copy is a window as it is before the record.
func (s *sliding[K, A]) copy(w *span[A]) *span[A] {
	c := *w
	var err error
	if c.val, err = s.o.windows.codec.clone(w.val); err != nil {
		s.c.Task.Fail(&task.StateError{Store: s.o.windows.store.name, Doing: "copy state", Err: err})
	}
	return &c
}

// upTo is the number of windows that start at from or before.
func (s *sliding[K, A]) upTo(from int64) int {
	n, _ := slices.BinarySearchFunc(s.list, from, func(w span[A], from int64) int {
		if w.from <= from {
			return -1
		}
		return 1
	})
	return n
}

func (s *sliding[K, A]) open(from int64) bool {
	return from+s.o.d+1+s.o.windows.Grace > s.o.windows.time.W
}

// add adds the record to a window that is there.
func (s *sliding[K, A]) add(i int, t int64) {
	w := &s.list[i]
	if !s.open(w.from) {
		return
	}
	s.o.windows.Update(&w.val, false)
	w.time = max(w.time, t)
	s.o.windows.changed(w)
	s.o.windows.result(s.c, s.k, w)
}

// make makes a window of a content, if any, and the record. One that is there is begun anew.
func (s *sliding[K, A]) make(from int64, with *span[A], t int64) {
	if !s.open(from) {
		return
	}
	w := span[A]{from: from, to: from + s.o.d + 1, time: t}
	if with != nil {
		w.val = with.val
	}
	s.o.windows.Update(&w.val, with == nil)
	s.put(w)
}

// right makes the window that the record has just dropped out of, if it holds anything.
func (s *sliding[K, A]) right(t int64, content *span[A]) {
	if content != nil && content.time > t {
		s.put(span[A]{from: t + 1, to: t + 1 + s.o.d + 1, time: content.time, val: content.val})
	}
}

func (s *sliding[K, A]) put(w span[A]) {
	s.o.windows.time.stored(w.from)
	i := s.upTo(w.from)
	if i > 0 && s.list[i-1].from == w.from {
		i--
		w.revision = s.list[i].revision
		s.list[i] = w
	} else {
		s.list = slices.Insert(s.list, i, w)
	}
	s.o.windows.changed(&s.list[i])
	s.o.windows.result(s.c, s.k, &s.list[i])
}
