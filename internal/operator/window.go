package operator

import (
	"fmt"
	"math"
	"slices"

	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

// Windowed keeps one aggregate per key and aligned window.
//
// A window takes records until the watermark reaches its end plus the grace period. Then it closes, once: its results
// are emitted in the order of (end, key), and its state is deleted. Whether it has closed is decided by the watermark
// up to which windows were closed, which is committed together with what closing them has emitted.
//
// There is a table per window, so that closing is a walk, and the deletion one range per key group in the store (none,
// if the window never got there).
type Windowed[K comparable, A any] struct {
	store backing[K, A]
	WindowedSpec[K, A]
	clock   *task.Clock
	tables  map[int64]*pane[K, A]
	last    *pane[K, A] // the one that the last record was in
	due     int64       // of the window that closes first
	closed  int64
	dropped []dropped
	done    uint64
	paced   paced
	waiting *timers
	ownTime bool // final results have the largest time of their records, not that of the window's end
}

// WindowedSpec is what the topology says about a windowed aggregate.
type WindowedSpec[K comparable, A any] struct {
	Op     int32
	Store  string
	Keys   codec.Codec[K]
	Vals   codec.Codec[A]
	Window window.Alignment
	Update Add[A]
	// Merge makes it Panes: it adds to an aggregate that of a later pane.
	Merge func(*A, A)
	// What is emitted; each may be nil. OnCommit gets the aggregates that have changed since the last epoch.
	OnUpdate, OnCommit, OnClose WindowFn[K, A]
	// OnPace gets what has changed in a slice of Every ms of event time.
	OnPace WindowFn[K, A]
	Every  int64
	Late   LateFn[K]
}

// WindowFn takes a result.
type WindowFn[K comparable, A any] func(c *task.Ctx, k K, s window.Span, a A)

// pane is one window's table.
type pane[K comparable, A any] struct {
	*table[K, A]
	start int64 // its place; see window.Alignment
	saved bool  // some of it has reached the store, or will
	ahead prefetch[K, A]
	// unsent are the entries that OnCommit is to emit.
	unsent []*entry[K, A]
}

// dropped is a window that was deleted since the last cut.
type dropped struct {
	start int64
	keys  [][]byte // what the changelog has of it
}

// NewWindowed adds the operator to a task.
func NewWindowed[K comparable, A any](t *task.Task, clock *task.Clock, s WindowedSpec[K, A]) *Windowed[K, A] {
	o := makeWindowed(t, clock, s)
	t.AddStateful(o)
	t.AddPrefetcher(o)
	t.AddTimed(o)
	if s.OnCommit != nil {
		t.AddFlusher(o)
	}
	return o
}

func makeWindowed[K comparable, A any](t *task.Task, clock *task.Clock, s WindowedSpec[K, A]) *Windowed[K, A] {
	kind := task.KindWindow
	if s.Merge != nil {
		kind = task.KindPane
	}
	return &Windowed[K, A]{store: newBacking(t, kind, s.Store, s.Keys, s.Vals), WindowedSpec: s, clock: clock,
		tables: map[int64]*pane[K, A]{}, due: math.MaxInt64, closed: math.MinInt64, paced: paced{every: s.Every, due: math.MaxInt64}, waiting: newTimers(t, s.Store)}
}

// StoreID implements task.Stateful.
func (o *Windowed[K, A]) StoreID() uint32 { return o.store.id }

// Clock implements task.Timed.
func (o *Windowed[K, A]) Clock() *task.Clock { return o.clock }

// Due implements task.Timed.
func (o *Windowed[K, A]) Due() int64 { return min(o.due, o.paced.due) }

func (o *Windowed[K, A]) closes(start int64) int64 {
	return o.Window.To(start) + o.Window.Grace
}

// span is a window as its results carry it.
func (o *Windowed[K, A]) span(start int64, revision uint64) window.Span {
	s := o.Window.Span(start)
	s.Revision = revision
	return s
}

// Process takes a record.
func (o *Windowed[K, A]) Process(c *task.Ctx, k K) { o.Take(c, k, 0, 1) }

// Take takes n records of a window as one; see Gather.
func (o *Windowed[K, A]) Take(c *task.Ctx, k K, _ int64, n uint64) {
	c.Enter(o.Op)
	t := c.Time
	if plant.WindowOffByOne || plant.Is("window") {
		t-- // a record at a window's start lands in the one before
	}
	w := max(o.clock.W, o.closed)
	last := o.Window.Last(t)
	taken := false
	for start := o.Window.First(t); start <= last; start += o.Window.Advance {
		if o.closes(start) <= w {
			continue
		}
		if !taken {
			taken = true
			c.Pass(o.Op)
		}
		p := o.last
		if p == nil || p.start != start {
			p = o.pane(start)
		}
		e, err := o.store.find(p.table, k, start)
		if err != nil {
			c.Task.Fail(err)
			return
		}
		if !e.live {
			var zero A
			e.val, e.time = zero, math.MinInt64 // an update that panicked may have left something
		}
		o.Update(&e.val, !e.live)
		e.live = true
		e.time = max(e.time, c.Time)
		e.revision += n
		p.touch(e)
		if o.OnCommit != nil || o.OnPace != nil {
			o.waits(c, p, e)
		}
		if o.OnUpdate != nil {
			at := c.Time
			c.Time = e.time
			o.OnUpdate(c, k, o.span(start, e.revision), e.val)
			c.Time, c.Op = at, o.Op
		}
	}
	if taken {
		return
	}
	o.late(c, k, last, w, n)
}

// late gives a record, or n of them, to those who want the late ones.
func (o *Windowed[K, A]) late(c *task.Ctx, k K, last, w int64, n uint64) {
	c.Late(o.Op)
	c.AlsoLate(o.Op, n-1)
	if o.Late != nil {
		s := o.Window.Span(last)
		o.Late(c, k, Lateness{Time: c.Time, From: s.From, To: s.To, Watermark: w})
	}
}

// pane returns the table of a window that is open.
func (o *Windowed[K, A]) pane(start int64) *pane[K, A] {
	p := o.tables[start]
	if p == nil {
		p = &pane[K, A]{table: newTable[K, A](true), start: start}
		o.tables[start] = p
		if d := o.closes(start); d < o.due {
			o.due = d
			o.clock.Need(d)
		}
	}
	o.last = p
	return p
}

// Prefetch implements task.Prefetcher. The records are taken for ones of the windows that the last one was in: their times may be known
// only when they are run.
func (o *Windowed[K, A]) Prefetch(p *task.Port, n int, key func(i int) []byte) error {
	if o.last == nil {
		return nil
	}
	for start := o.Window.First(o.last.start); start <= o.last.start; start += o.Window.Advance {
		if w := o.tables[start]; w != nil {
			if err := o.store.prefetch(&w.ahead, w.table, start, p, n, key); err != nil {
				return err
			}
		}
	}
	return nil
}

// Advance implements task.Timed: it closes the windows whose grace period is over.
func (o *Windowed[K, A]) Advance(c *task.Ctx, w int64) {
	o.closed = w
	if w >= o.paced.due {
		if err := o.emitPaced(c, math.MaxInt64); err != nil {
			c.Task.Fail(err)
			return
		}
	}
	var starts []int64
	o.due = math.MaxInt64
	for start := range o.tables {
		if d := o.closes(start); d <= w {
			starts = append(starts, start)
		} else {
			o.due = min(o.due, d)
		}
	}
	slices.Sort(starts)
	for _, start := range starts {
		if err := o.close(c, o.tables[start]); err != nil {
			c.Task.Fail(err)
			return
		}
	}
}

func (o *Windowed[K, A]) close(c *task.Ctx, p *pane[K, A]) error {
	if o.OnClose != nil || p.saved {
		if err := o.store.load(p.table, &p.start); err != nil {
			return err
		}
	}
	if o.OnCommit != nil {
		o.commit(c, p)
	}
	if o.OnPace != nil && !plant.Is("early") { // planted: what waits for its pace is not emitted before the final result
		if err := o.emitPaced(c, p.start+1); err != nil { // earlier windows have closed before
			return err
		}
	}
	span := o.span(p.start, 0)
	span.Final = true
	if o.OnClose != nil {
		sorted, err := o.store.sorted(p.table)
		if err != nil {
			return err
		}
		t, k, h := c.Time, c.Key, c.Headers
		for _, x := range sorted {
			span.Revision = x.e.revision
			c.Op, c.Time, c.Key, c.Headers = o.Op, span.To-1, x.key, nil
			if o.ownTime {
				c.Time = x.e.time
			}
			o.OnClose(c, x.e.key, span, x.e.val)
		}
		c.Time, c.Key, c.Headers = t, k, h
	}
	return o.drop(p)
}

// drop deletes a table; if some of it was saved, it is complete.
func (o *Windowed[K, A]) drop(p *pane[K, A]) error {
	if o.last == p {
		o.last = nil
	}
	if p.saved {
		d := dropped{start: p.start}
		var err error
		p.each(func(e *entry[K, A]) {
			if e.logged && err == nil {
				var key []byte
				key, err = o.store.appendKey(nil, e.key, p.start)
				d.keys = append(d.keys, key)
			}
		})
		if err != nil {
			return err
		}
		o.dropped = append(o.dropped, d)
	}
	delete(o.tables, p.start)
	return nil
}

type keyed[K comparable, A any] struct {
	key []byte
	e   *entry[K, A]
}

// sorted lists a table's live entries in the order of their encoded keys.
func (s *backing[K, A]) sorted(p *table[K, A]) (list []keyed[K, A], err error) {
	var arena []byte
	n := p.entries()
	r := make(ranks, 0, n)
	list = make([]keyed[K, A], 0, n)
	p.each(func(e *entry[K, A]) {
		if !e.live || err != nil {
			return
		}
		at := len(arena)
		if arena, err = s.keys.Append(arena, e.key); err == nil {
			if at == 0 {
				arena = slices.Grow(arena, (n-1)*len(arena))
			}
			list = append(list, keyed[K, A]{arena[at:len(arena):len(arena)], e}) // good also when the arena grows: what it was stays
			r.add(0, list[len(list)-1].key)
		}
	})
	if err != nil {
		return nil, &task.StateError{Store: s.name, Doing: "encode key", Err: err}
	}
	arrange(list, r)
	return list, nil
}

// Flush implements task.Flusher.
func (o *Windowed[K, A]) Flush(c *task.Ctx) {
	for _, start := range slices.Sorted(keysOf(o.tables)) {
		o.commit(c, o.tables[start])
	}
}

func keysOf[K comparable, V any](m map[K]V) func(func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// waits puts a window that has changed where it waits for the end of the epoch, or of a slice of time.
func (o *Windowed[K, A]) waits(c *task.Ctx, p *pane[K, A], e *entry[K, A]) {
	if o.OnCommit != nil && !e.unsent {
		e.unsent = true
		p.unsent = append(p.unsent, e)
	}
	if o.OnPace != nil && !e.waits {
		o.pace(c, e, p.start)
	}
}

// commit emits what has changed in a window since it was last called.
func (o *Windowed[K, A]) commit(c *task.Ctx, p *pane[K, A]) {
	for _, e := range p.unsent {
		e.unsent = false
		key, err := o.store.keys.Append(o.store.buf[:0], e.key)
		o.store.buf = key
		if err != nil {
			c.Task.Fail(&task.StateError{Store: o.store.name, Doing: "encode key", Err: err})
			return
		}
		c.Op = o.Op
		t, k, h := c.Time, c.Key, c.Headers
		c.Time, c.Key, c.Headers = e.time, key, nil
		o.OnCommit(c, e.key, o.span(p.start, e.revision), e.val)
		c.Time, c.Key, c.Headers = t, k, h
	}
	clear(p.unsent)
	p.unsent = p.unsent[:0]
}

// Restore implements task.Stateful: it finds the windows that the store holds, and drops those that have closed.
func (o *Windowed[K, A]) Restore(m *task.Marker) error {
	if err := o.store.open(); err != nil {
		return err
	}
	if m != nil {
		for _, c := range m.Closed {
			if c.Store == o.store.id {
				o.closed = c.Through
			}
		}
	}
	for g := range o.store.groups {
		lo, hi := o.store.bounds(uint16(g), nil)
		for {
			var start int64
			err := o.store.task.View.Scan(lo, hi, func(key, _ []byte) error {
				start = task.Time(key[task.PrefixLen:])
				return errStop
			})
			if err == nil {
				break
			}
			if err != errStop {
				return fmt.Errorf("store %s: %w", o.store.name, err)
			}
			if o.closes(start) <= o.closed {
				o.dropped = append(o.dropped, dropped{start: start})
			} else if o.tables[start] == nil {
				p := o.pane(start)
				p.complete, p.saved = false, true
			}
			_, lo = o.store.bounds(uint16(g), &start)
		}
	}
	return o.restorePaced()
}

// Cut implements task.Stateful.
func (o *Windowed[K, A]) Cut(d *task.Delta) error {
	for start, p := range o.tables {
		if len(p.changed) == 0 {
			continue
		}
		if err := o.store.cut(p.table, d, start); err != nil {
			return err
		}
		p.saved = true
	}
	for _, x := range o.dropped {
		for _, key := range x.keys {
			d.Put(append(d.Buf(len(key)), key...), len(key), true, true)
		}
		for g := range o.store.groups {
			lo, hi := o.store.bounds(uint16(g), &x.start)
			d.Ranges = append(d.Ranges, task.Range{Lo: lo, Hi: hi})
		}
	}
	o.dropped = nil
	o.waiting.cut(d)
	return nil
}

// Applied implements task.Stateful.
func (o *Windowed[K, A]) Applied(epoch uint64) {
	o.done = epoch
	o.waiting.applied(epoch, o.store.task.Room(o.Held())/2)
	over := o.Held() - o.store.task.Room(o.Held())
	for _, p := range o.tables {
		p.applied(epoch)
		if over > 0 {
			over -= o.store.evict(p.table, over/o.store.entrySize()+1, epoch) * o.store.entrySize()
		}
	}
}

// Changed implements task.Stateful.
func (o *Windowed[K, A]) Changed() (n int) {
	for _, p := range o.tables {
		n += len(p.changed)
	}
	return n*o.store.entrySize() + len(o.waiting.changed)*64
}

// Held implements task.Stateful.
func (o *Windowed[K, A]) Held() (n int) {
	for _, p := range o.tables {
		n += o.store.size(p.table)
	}
	return n + o.waiting.held()
}

// ClosedThrough implements task.Closer.
func (o *Windowed[K, A]) ClosedThrough() task.MarkerClosed {
	return task.MarkerClosed{Store: o.store.id, Through: max(o.closed, o.clock.W)}
}

// Emit reshapes a result with a function of the user. Outside of a record, when time has moved or an epoch ends, it sees
// to a result's rejection itself.
//
//go:noinline
func Emit[K comparable, A, R any](op int32, f func(K, window.Span, A) R, next task.Fn[R]) WindowFn[K, A] {
	return func(c *task.Ctx, k K, s window.Span, a A) {
		c.Enter(op)
		r := f(k, s, a)
		c.Pass(op)
		if c.Port != nil {
			next(c, r)
			return
		}
		m := c.Begin()
		next(c, r)
		c.End(m)
	}
}
