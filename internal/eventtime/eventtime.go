// Package eventtime is the algebra of watermarks: how one is made for an input, how several are merged, and how they
// are carried from one task to the next. Times are milliseconds since the epoch. It knows nothing of records, tasks or
// clocks; whoever calls it says what time it is.
//
// A watermark w says that no record with a time before w is expected any more. (Flink's watermark is w - 1; Kafka
// Streams' stream time is w for a bound of zero.) It never falls.
package eventtime

import "math"

// The ends of time. None is the watermark of an input that has shown nothing yet.
const (
	None = math.MinInt64
	End  = math.MaxInt64
)

// Input is what is known of the time of one input partition of a task.
type Input struct {
	Watermark int64
	Idle      bool // left out of the merge until it speaks
}

// Merge is the watermark of an operator with these inputs: the smallest of those that are not idle. ok is false if all
// are idle; the operator then keeps the watermark it has.
func Merge(inputs []*Input) (w int64, ok bool) {
	w = End
	for _, in := range inputs {
		if !in.Idle {
			ok = true
			w = min(w, in.Watermark)
		}
	}
	return w, ok
}

// Bounded makes the watermark of an input whose records are out of order by at most Bound: the largest time seen, less
// the bound.
type Bounded struct {
	Bound int64
	Max   int64
}

// NewBounded has seen nothing.
func NewBounded(bound int64) Bounded { return Bounded{Bound: bound, Max: None} }

// Observe takes a record's time and returns the watermark, and whether it moved.
func (b *Bounded) Observe(t int64) (w int64, moved bool) {
	if t <= b.Max {
		return b.Watermark(), false
	}
	b.Max = t
	return b.Watermark(), true
}

// Watermark is the watermark for what was seen.
func (b *Bounded) Watermark() int64 {
	if b.Max < None+b.Bound {
		return None
	}
	return b.Max - b.Bound
}

// Carried makes the watermark of an input that is a repartition topic: the smallest of the watermarks that the
// upstream tasks have sent along with their records. A task that was never heard of holds it back, since its records
// may still come.
type Carried struct {
	Tasks []Input // by the number of the upstream task
}

// NewCarried expects this many upstream tasks.
func NewCarried(tasks int) Carried {
	c := Carried{}
	c.Grow(tasks, None)
	return c
}

// Grow expects more upstream tasks (partitions that were added to a source): they begin at the watermark w.
func (c *Carried) Grow(tasks int, w int64) {
	for len(c.Tasks) < tasks {
		c.Tasks = append(c.Tasks, Input{Watermark: w})
	}
}

// Observe takes an upstream task's watermark; a smaller one than before is ignored.
func (c *Carried) Observe(task int, w int64, idle bool) {
	if task < 0 {
		return
	}
	c.Grow(task+1, None)
	in := &c.Tasks[task]
	in.Watermark = max(in.Watermark, w)
	in.Idle = idle
}

// Input is the merge of the upstream tasks; it is idle if all of them are.
func (c *Carried) Input() Input {
	w, ok := int64(End), false
	for i := range c.Tasks {
		if in := &c.Tasks[i]; !in.Idle {
			ok = true
			w = min(w, in.Watermark)
		}
	}
	if !ok {
		return Input{Watermark: None, Idle: true}
	}
	return Input{Watermark: w}
}

// FloorMod is t mod n with a result from 0 to n-1 also for a negative t.
func FloorMod(t, n int64) int64 {
	if m := t % n; m >= 0 {
		return m
	} else {
		return m + n
	}
}
