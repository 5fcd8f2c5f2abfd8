package operator

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/millstream-go/millstream/internal/eventtime"
	"github.com/millstream-go/millstream/internal/task"
)

// Kafka Streams' idea of time, for operators that go by its rules: each has a stream time of its own, the largest time
// among the records that it has seen, and acts only when a record comes. The operators of this kind are in files that
// begin with streamtime_; they are chosen when a topology is built, so that the others know nothing of them.

// StreamTime is what they have in common.
type StreamTime struct {
	EmitEvery int64 // ms of wall-clock time between two looks for what is to be emitted; 0: with every record
}

// streamTime is the time of one operator. It is a clock that no port moves, and is part of the operator's state, together
// with up to four more numbers.
type streamTime struct {
	task.Clock
	StreamTime
	numbers [5]int64 // the time, when it may look next, and what else the operator keeps
	// inputs are the times of streams that share the operator, by Ctx.Input: each has one of its own.
	inputs  []int64
	changed bool
	task    *task.Task
	id      uint32
	store   string
}

const (
	theTime = iota
	nextLook
	numberA // of the operator
	numberB
	numberC
)

func newStreamTime(t *task.Task, store string, s StreamTime) *streamTime {
	k := &streamTime{Clock: task.Clock{W: eventtime.None}, StreamTime: s, task: t, id: task.ID(store), store: store}
	for i := range k.numbers {
		k.numbers[i] = math.MinInt64
	}
	return k
}

// see takes the time of a record.
func (s *streamTime) see(t int64) {
	if t > s.W {
		s.W = t
		s.set(theTime, t)
	}
}

// turn takes the time of a record, and makes the operator's time that of the record's stream, where several share it.
func (s *streamTime) turn(c *task.Ctx) {
	i := c.Input
	c.Input = 0 // what comes behind is another operator's
	if i == 0 && len(s.inputs) == 0 {
		s.see(c.Time)
		return
	}
	for len(s.inputs) <= i {
		s.inputs = append(s.inputs, math.MinInt64)
	}
	if len(s.inputs) > 1 && s.inputs[0] == math.MinInt64 {
		s.inputs[0] = s.numbers[theTime] // there was one stream so far
	}
	if c.Time > s.inputs[i] {
		s.inputs[i], s.changed = c.Time, true
	}
	s.W = s.inputs[i]
}

// slowest is the time that all of the streams that share the operator have reached: no record before it is accepted.
func (s *streamTime) slowest() int64 {
	if len(s.inputs) == 0 {
		return s.W
	}
	return slices.Min(s.inputs)
}

// stored notes that a window with this start was written.
func (s *streamTime) stored(start int64) {
	if start > s.numbers[numberA] {
		s.set(numberA, start)
	}
}

// newest is so much before the start of the newest window. Kafka Streams keeps a window until then, whoever may still
// want to add to it. One stream alone never does. But where several share the windows, a stream that is behind the
// others can have a record for one that is gone: it begins the window anew.
func (s *streamTime) newest(retention int64) int64 {
	n := s.numbers[numberA]
	if n < math.MinInt64+retention {
		return math.MinInt64
	}
	return n - retention
}

func (s *streamTime) set(i int, n int64) {
	if s.numbers[i] != n {
		s.numbers[i], s.changed = n, true
	}
}

// may says whether the operator may look for what is to be emitted now. A look counts, whether or not it finds anything.
func (s *streamTime) may(now int64) bool {
	if s.EmitEvery == 0 {
		return true
	}
	if now < s.numbers[nextLook] {
		return false
	}
	s.set(nextLook, now+s.EmitEvery)
	return true
}

func (s *streamTime) key(b []byte) []byte {
	return task.AppendPrefix(b, task.KindNumbers, s.id, 0)
}

func (s *streamTime) cut(d *task.Delta) {
	if !s.changed {
		return
	}
	s.changed = false
	b := s.key(d.Buf(64))
	n := len(b)
	for _, x := range s.numbers {
		b = binary.AppendVarint(b, x)
	}
	for _, x := range s.inputs {
		b = binary.AppendVarint(b, x)
	}
	d.Put(b, n, false, false)
}

func (s *streamTime) restore() error {
	val, found, err := s.task.View.Get(s.key(nil), nil)
	if err != nil || !found {
		return err
	}
	for i := range s.numbers {
		x, n := binary.Varint(val)
		if n <= 0 {
			return &task.StateError{Store: s.store, Doing: "read stream time", Err: errDamaged}
		}
		s.numbers[i], val = x, val[n:]
	}
	for len(val) > 0 {
		x, n := binary.Varint(val)
		if n <= 0 {
			return &task.StateError{Store: s.store, Doing: "read stream time", Err: errDamaged}
		}
		s.inputs, val = append(s.inputs, x), val[n:]
	}
	s.W = s.numbers[theTime]
	return nil
}
