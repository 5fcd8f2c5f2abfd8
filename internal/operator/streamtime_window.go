package operator

import (
	"math"

	"github.com/millstream-go/millstream/internal/task"
)

// StreamWindowed is Windowed by stream time, as Kafka Streams has tumbling and hopping windows. A window takes a record
// if its end is beyond stream time less grace, with the record's time counted in. A record counts as late once for each
// of its windows that does not take it. Windows do not begin before 1970. Results of closed windows have the largest time
// of their records, and come with the record that has moved stream time, at most once per interval of wall-clock time.
// Where several streams share the windows, see streamTime.newest.
type StreamWindowed[K comparable, A any] struct {
	*Windowed[K, A]
	time *streamTime
	null func(A) bool
}

// NewStreamWindowed adds the operator to a task.
func NewStreamWindowed[K comparable, A any](t *task.Task, st StreamTime, s WindowedSpec[K, A]) *StreamWindowed[K, A] {
	time := newStreamTime(t, s.Store, st)
	o := &StreamWindowed[K, A]{Windowed: makeWindowed(t, &time.Clock, s), time: time, null: nullTest[A]()}
	o.ownTime = true
	t.AddStateful(o)
	if s.OnCommit != nil {
		t.AddFlusher(o)
	}
	return o
}

// Process takes a record.
func (o *StreamWindowed[K, A]) Process(c *task.Ctx, k K) {
	c.Op = o.Op
	o.time.turn(c)
	c.Enter(o.Op)
	booked := false
	w := o.time.W
	last := o.Window.Last(c.Time)
	for start := max(o.Window.First(c.Time), 0); start <= last; start += o.Window.Advance {
		if o.closes(start) > w {
			if !booked {
				booked = true
				c.Pass(o.Op)
			}
			o.add(c, k, start, start <= o.time.newest(o.closes(start)-start))
			o.time.stored(start)
			continue
		}
		if booked {
			c.AlsoLate(o.Op, 1)
		} else {
			booked = true
			c.Late(o.Op)
		}
		if o.Late != nil {
			s := o.Window.Span(start)
			o.Late(c, k, Lateness{Time: c.Time, From: s.From, To: s.To, Watermark: w})
		}
	}
	if !booked {
		c.Filter(o.Op) // it is from before 1970
	}
	if at := o.time.slowest(); (o.OnClose == nil || o.time.may(c.Task.Now)) && at >= o.Due() {
		o.Advance(c, at)
	}
}

// add folds a record into a window, which begins anew if it is gone. An aggregate that has become null is deleted, and
// retracted.
func (o *StreamWindowed[K, A]) add(c *task.Ctx, k K, start int64, gone bool) {
	p := o.pane(start)
	e, err := o.store.find(p.table, k, start)
	if err != nil {
		c.Task.Fail(err)
		return
	}
	first := !e.live || gone
	if first {
		var zero A
		e.val, e.time = zero, math.MinInt64
	}
	o.Update(&e.val, first)
	at := max(e.time, c.Time)
	span := o.span(start, e.revision+1)
	if o.null != nil && o.null(e.val) {
		var zero A
		span.Retracted = true
		e.live, e.val, e.time = false, zero, 0
		e.revision++
		p.touch(e)
	} else {
		e.live, e.time = true, at
		e.revision++
		p.touch(e)
		if o.OnCommit != nil || o.OnPace != nil {
			o.waits(c, p, e)
		}
	}
	if o.OnUpdate != nil {
		t := c.Time
		c.Time = at
		o.OnUpdate(c, k, span, e.val)
		c.Time, c.Op = t, o.Op
	}
}

// Restore implements task.Stateful. Which windows have closed is known by which are still there.
func (o *StreamWindowed[K, A]) Restore(*task.Marker) error {
	if err := o.time.restore(); err != nil {
		return err
	}
	return o.Windowed.Restore(nil)
}

// Cut implements task.Stateful.
func (o *StreamWindowed[K, A]) Cut(d *task.Delta) error {
	o.time.cut(d)
	return o.Windowed.Cut(d)
}
