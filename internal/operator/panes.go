package operator

import (
	"bytes"
	"math"
	"reflect"
	"slices"

	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/window"
)

// Panes is Windowed for overlapping windows of which only the final results are wanted, and whose aggregates can be
// merged. It keeps one aggregate per key and pane, an interval as long as the windows' advance; a window is made of
// panes when it closes. So a record changes one aggregate, and not one in each of its windows. The idea is that of
// Krishnamurthy, Wu, Franklin, "On-the-fly sharing for streamed aggregation" (SIGMOD 2006).
//
// A pane has the start of the last window that it is in, and is deleted when that one closes. A record that comes when
// some of its windows have closed is in its pane nevertheless: those windows are not made again.
type Panes[K comparable, A any] struct {
	*Windowed[K, A]
	order map[int64]*paneOrder[K, A] // of the panes that have been part of a window
	heap  []cursor[K, A]
}

// paneOrder is a pane's entries by their encoded keys, as long as none comes or goes.
type paneOrder[K comparable, A any] struct {
	shape uint64
	list  []keyed[K, A]
}

// cursor is how far a pane has been read.
type cursor[K comparable, A any] struct {
	list []keyed[K, A]
	pane int
}

// NewPanes adds the operator to a task. The windows' advance divides their size, and nothing but OnClose is set.
func NewPanes[K comparable, A any](t *task.Task, clock *task.Clock, s WindowedSpec[K, A]) *Panes[K, A] {
	o := &Panes[K, A]{Windowed: makeWindowed(t, clock, s), order: map[int64]*paneOrder[K, A]{}}
	t.AddStateful(o)
	t.AddTimed(o)
	return o
}

// Process takes a record.
func (o *Panes[K, A]) Process(c *task.Ctx, k K) { o.Take(c, k, 0, 1) }

// Take takes n records of a pane as one; see Gather.
func (o *Panes[K, A]) Take(c *task.Ctx, k K, _ int64, n uint64) {
	c.Op = o.Op
	t := c.Time
	if plant.WindowOffByOne || plant.Is("window") {
		t--
	}
	if w := o.clock.W; w > o.closed {
		if w >= o.due {
			// The record is from an operator before this one that has seen the time move first. Windows that this
			// has closed must be without it.
			port := c.Port
			c.Port = nil
			o.Advance(c, w)
			c.Op, c.Port = o.Op, port
		}
		o.closed = w
	}
	c.Enter(o.Op)
	start := o.Window.Last(t)
	if o.closes(start) <= o.closed {
		o.late(c, k, start, o.closed, n)
		return
	}
	c.Pass(o.Op)
	p := o.last
	if p == nil || p.start != start {
		p = o.pane(start)
		o.arm(start)
	}
	e, err := o.store.find(p.table, k, start)
	if err != nil {
		c.Task.Fail(err)
		return
	}
	if !e.live {
		var zero A
		e.val, e.time = zero, math.MinInt64
	}
	o.Update(&e.val, !e.live)
	e.live = true
	e.time = max(e.time, c.Time)
	e.revision += n
	p.touch(e)
}

// first is the first window with a pane in it that has not closed at a watermark.
func (o *Panes[K, A]) first(pane, w int64) int64 {
	start := pane - o.Window.Size + o.Window.Advance
	if over := w - o.closes(start); w > math.MinInt64/2 && over >= 0 {
		start += (over/o.Window.Advance + 1) * o.Window.Advance
	}
	return start
}

// arm sees to it that the windows of a pane are closed.
func (o *Panes[K, A]) arm(pane int64) {
	if d := o.closes(o.first(pane, o.closed)); d < o.due {
		o.due = d
		o.clock.Need(d)
	}
}

// Advance implements task.Timed: it closes the windows whose grace period is over.
func (o *Panes[K, A]) Advance(c *task.Ctx, w int64) {
	before := o.closed
	o.closed = w
	panes := slices.Sorted(keysOf(o.tables))
	var windows []int64
	for _, p := range panes {
		for s := o.first(p, before); s <= p && o.closes(s) <= w; s += o.Window.Advance {
			windows = append(windows, s)
		}
	}
	slices.Sort(windows)
	for _, s := range slices.Compact(windows) {
		from, _ := slices.BinarySearch(panes, s)
		to, _ := slices.BinarySearch(panes, s+o.Window.Size)
		if err := o.emit(c, s, panes[from:to]); err != nil {
			c.Task.Fail(err)
			return
		}
	}
	o.due = math.MaxInt64
	for _, p := range panes {
		if o.closes(p) > w {
			o.due = min(o.due, o.closes(o.first(p, w)))
			continue
		}
		delete(o.order, p)
		if err := o.drop(o.tables[p]); err != nil {
			c.Task.Fail(err)
			return
		}
	}
}

// emit makes a window of its panes. Each is in the order of its keys, so that all are read in step.
func (o *Panes[K, A]) emit(c *task.Ctx, start int64, panes []int64) error {
	o.heap = o.heap[:0]
	for i, p := range panes {
		list, err := o.sortedPane(o.tables[p])
		if err != nil {
			return err
		}
		if len(list) > 0 {
			o.heap = append(o.heap, cursor[K, A]{list, i})
		}
	}
	for i := len(o.heap)/2 - 1; i >= 0; i-- {
		o.sink(i)
	}
	span := o.span(start, 0)
	span.Final = true
	t, k, h := c.Time, c.Key, c.Headers
	for len(o.heap) > 0 {
		x := o.heap[0].list[0]
		sum := x.e.val
		span.Revision = x.e.revision
		for o.next(); len(o.heap) > 0 && bytes.Equal(o.heap[0].list[0].key, x.key); o.next() {
			e := o.heap[0].list[0].e
			o.Merge(&sum, e.val)
			span.Revision += e.revision
		}
		c.Op, c.Time, c.Key, c.Headers = o.Op, span.To-1, x.key, nil
		o.OnClose(c, x.e.key, span, sum)
	}
	c.Time, c.Key, c.Headers = t, k, h
	return nil
}

// next goes on behind the smallest entry.
func (o *Panes[K, A]) next() {
	if h := &o.heap[0]; len(h.list) > 1 {
		h.list = h.list[1:]
	} else {
		last := len(o.heap) - 1
		*h = o.heap[last]
		o.heap[last] = cursor[K, A]{}
		o.heap = o.heap[:last]
	}
	o.sink(0)
}

// sink moves a cursor of the heap to its place below.
func (o *Panes[K, A]) sink(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(o.heap); child++ {
			if o.heap[child].less(&o.heap[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		o.heap[i], o.heap[least] = o.heap[least], o.heap[i]
		i = least
	}
}

// less orders by key, and what a key has in several panes by time.
func (x *cursor[K, A]) less(y *cursor[K, A]) bool {
	if n := bytes.Compare(x.list[0].key, y.list[0].key); n != 0 {
		return n < 0
	}
	return x.pane < y.pane
}

// sortedPane is a pane in the order of its encoded keys. It is part of several windows, and sorted once.
func (o *Panes[K, A]) sortedPane(p *pane[K, A]) ([]keyed[K, A], error) {
	if err := o.store.load(p.table, &p.start); err != nil {
		return nil, err
	}
	if at := o.order[p.start]; at != nil && at.shape == p.shape {
		return at.list, nil
	}
	list, err := o.store.sorted(p.table)
	if err == nil {
		o.order[p.start] = &paneOrder[K, A]{p.shape, list}
	}
	return list, err
}

// Restore implements task.Stateful.
func (o *Panes[K, A]) Restore(m *task.Marker) error {
	if err := o.Windowed.Restore(m); err != nil {
		return err
	}
	for p := range o.tables {
		o.arm(p)
	}
	return nil
}

// Held implements task.Stateful.
func (o *Panes[K, A]) Held() int {
	n := 0
	for _, x := range o.order {
		n += len(x.list) * 48
	}
	return n + o.Windowed.Held()
}

// CanShare says whether windows of aggregates of a type can share panes: what a pane has must stay as it is when it is
// merged with others, which copying ensures only for types without pointers.
func CanShare[A any](w window.Alignment) bool {
	return w.Period == 0 && w.Advance > 0 && w.Advance < w.Size && w.Size%w.Advance == 0 && flat(reflect.TypeFor[A]())
}
