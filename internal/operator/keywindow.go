package operator

import (
	"fmt"
	"math"
	"unsafe"

	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// keyWindows is what the operators have in common whose windows depend on the records of each key: sessions, sliding
// and count windows. The windows of a key are a short list in one entry, read and written as a whole.
//
// A window takes records until the watermark reaches its end plus the grace period. Then it closes, once: its result is
// emitted, among those that close at the same watermark in the order of (end, key), and it leaves the list. That it has
// closed is part of the entry, which is committed together with what closing it has emitted. Which keys have windows to
// be closed is kept in memory, for all keys that have any; it is read from the store when the task starts.
type keyWindows[K comparable, A any] struct {
	store backing[K, []span[A]]
	KeyWindowSpec[K, A]
	codec     *spansCodec[A]
	clock     *task.Clock
	table     *table[K, []span[A]]
	schedule  schedule[K]
	closed    int64
	spans     int               // windows per entry, about
	retracted []retracted[K, A] // since the last epoch; kept for OnCommit only

	paced   paced
	waiting map[K]struct{} // keys with windows that wait to be emitted to OnPace

	fires []firing[K, A] // of the move of time at hand

	// ends is the watermark at which a window closes, or at which a closed one is no longer needed.
	ends func(s *span[A]) int64
	// retire closes the windows of a key whose time has come. It returns those whose results are final, and those that
	// stay in the list.
	retire func(list []span[A], w int64) (closing, kept []span[A], changed bool)
	// shown says that results are to have the window.
	shown func(s *span[A]) bool
}

// KeyWindowSpec is what the topology says about such an operator.
type KeyWindowSpec[K comparable, A any] struct {
	Op     int32
	Store  string
	Keys   codec.Codec[K]
	Vals   codec.Codec[A]
	Grace  int64 // ms
	Update Add[A]
	// What is emitted; each may be nil. See WindowedSpec.
	OnUpdate, OnCommit, OnClose WindowFn[K, A]
	OnPace                      WindowFn[K, A]
	Every                       int64
	Late                        LateFn[K]
	Trigger                     Trigger
	OnFire                      WindowFn[K, A]
}

type retracted[K comparable, A any] struct {
	key K
	s   span[A]
}

func (o *keyWindows[K, A]) init(t *task.Task, clock *task.Clock, s KeyWindowSpec[K, A]) {
	o.codec = &spansCodec[A]{vals: s.Vals}
	o.store = newBacking[K, []span[A]](t, task.KindSpans, s.Store, s.Keys, o.codec)
	o.KeyWindowSpec, o.clock, o.schedule, o.closed, o.spans = s, clock, newSchedule[K](), math.MinInt64, 1
	o.paced, o.waiting = paced{every: s.Every, due: math.MaxInt64}, map[K]struct{}{}
	o.ends = func(s *span[A]) int64 { return s.to + o.Grace }
	o.shown = func(s *span[A]) bool { return !s.empty }
	o.retire = func(list []span[A], w int64) (closing, kept []span[A], changed bool) {
		for i := range list {
			if o.ends(&list[i]) <= w {
				closing = append(closing, list[i])
			} else {
				kept = append(kept, list[i])
			}
		}
		return closing, kept, len(closing) > 0
	}
}

// register adds the windows to their task.
func (o *keyWindows[K, A]) register() {
	o.store.task.AddStateful(o)
	o.store.task.AddTimed(o)
	if o.OnCommit != nil {
		o.store.task.AddFlusher(o)
	}
}

// StoreID implements task.Stateful.
func (o *keyWindows[K, A]) StoreID() uint32 { return o.store.id }

// Clock implements task.Timed.
func (o *keyWindows[K, A]) Clock() *task.Clock { return o.clock }

// Due implements task.Timed.
func (o *keyWindows[K, A]) Due() int64 { return min(o.schedule.next(), o.paced.due) }

// watermark is what records are judged by.
func (o *keyWindows[K, A]) watermark() int64 { return max(o.clock.W, o.closed) }

// late gives a record to those who want the late ones.
func (o *keyWindows[K, A]) late(c *task.Ctx, k K, from, to int64) {
	c.Late(o.Op)
	if o.Late != nil {
		o.Late(c, k, Lateness{Time: c.Time, From: from, To: to, Watermark: o.watermark()})
	}
}

// entry is the entry of a key, or nil if the store cannot be read.
func (o *keyWindows[K, A]) entry(c *task.Ctx, k K) *entry[K, []span[A]] {
	e, err := o.store.find(o.table, k, 0)
	if err != nil {
		c.Task.Fail(err)
		return nil
	}
	return e
}

// release removes an entry that was made by looking for one.
func (o *keyWindows[K, A]) release(e *entry[K, []span[A]]) {
	if !e.live && !e.changed && e.epoch == 0 {
		o.table.remove(e)
	}
}

// keep makes list the windows of the key, and sees to it that they are looked at in time.
func (o *keyWindows[K, A]) keep(e *entry[K, []span[A]], list []span[A]) {
	o.put(e, list)
	if e.live {
		o.reschedule(e)
	} else {
		o.schedule.forget(e.key)
	}
}

// put makes list the windows of the key. The schedule knows when to look at the first of them, or at something before it.
func (o *keyWindows[K, A]) put(e *entry[K, []span[A]], list []span[A]) {
	e.val, e.live = list, len(list) > 0
	if !e.live {
		e.val = nil
	}
	o.table.touch(e)
	for i := range e.val {
		if e.val[i].waits {
			o.waiting[e.key] = struct{}{}
			o.paced.wait(o.clock, o.watermark())
			break
		}
	}
}

func (o *keyWindows[K, A]) reschedule(e *entry[K, []span[A]]) {
	due := int64(math.MaxInt64)
	for i := range e.val {
		due = min(due, o.needed(&e.val[i]))
	}
	if due == math.MaxInt64 {
		return // there is never anything to do for it
	}
	o.schedule.need(e.key, due)
	o.clock.Need(due)
}

// counted says that the window has taken n records, up to the time t.
func (o *keyWindows[K, A]) counted(s *span[A], t int64, n uint64) {
	s.time = max(s.time, t)
	if o.shown(s) {
		s.revision += n
		s.changed = true
		s.waits = o.OnPace != nil
	}
}

// updated emits a window that a record has changed.
func (o *keyWindows[K, A]) updated(c *task.Ctx, k K, s *span[A]) {
	if o.OnUpdate == nil || !o.shown(s) {
		return
	}
	t := c.Time
	c.Time = s.time
	o.OnUpdate(c, k, s.result(false), s.val)
	c.Time, c.Op = t, o.Op
}

// retract emits that there is no such window any more.
func (o *keyWindows[K, A]) retract(c *task.Ctx, k K, s span[A]) {
	if s.empty {
		return
	}
	s.revision++
	t := c.Time
	r := s.result(false)
	r.Retracted = true
	c.Time = s.time
	if o.OnUpdate != nil {
		o.OnUpdate(c, k, r, s.val)
		c.Op = o.Op
	}
	if o.OnPace != nil && s.paced {
		o.OnPace(c, k, r, s.val)
		c.Op = o.Op
	}
	if o.OnFire != nil && s.fired {
		c.Time = o.resultTime(&s)
		o.OnFire(c, k, r, s.val)
		c.Op = o.Op
	}
	c.Time = t
	if o.OnCommit != nil && s.sent {
		val, err := o.codec.clone(s.val) // which is about to change
		if err != nil {
			c.Task.Fail(&task.StateError{Store: o.store.name, Doing: "copy state", Err: err})
			return
		}
		s.val = val
		o.retracted = append(o.retracted, retracted[K, A]{k, s})
	}
}

type closing[K comparable, A any] struct {
	key []byte
	k   K
	s   span[A]
}

// Advance implements task.Timed: it closes the windows whose grace period is over.
func (o *keyWindows[K, A]) Advance(c *task.Ctx, w int64) {
	o.closed = w
	if w >= o.paced.due {
		o.emitPaced(c)
	}
	var all []closing[K, A]
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
		fired := o.fireAt(k, e.val, w)
		closed, kept, changed := o.retire(e.val, w)
		if !changed && !fired { // it was put off
			o.reschedule(e)
			continue
		}
		for _, s := range closed {
			if !s.empty {
				all = append(all, closing[K, A]{k: k, s: s})
			}
		}
		o.keep(e, kept)
	}
	o.emitFires(c)
	o.emit(c, all)
}

// emit emits the windows that close.
func (o *keyWindows[K, A]) emit(c *task.Ctx, all []closing[K, A]) {
	if !o.sort(c, all) {
		return
	}
	t, key, h := c.Time, c.Key, c.Headers
	for i := range all {
		x := &all[i]
		c.Op, c.Key, c.Headers = o.Op, x.key, nil
		if o.OnCommit != nil && x.s.changed {
			c.Time = x.s.time
			o.OnCommit(c, x.k, x.s.result(false), x.s.val)
		}
		if o.OnPace != nil && x.s.waits {
			c.Op, c.Time = o.Op, x.s.time
			o.OnPace(c, x.k, x.s.result(false), x.s.val)
		}
		if o.OnClose != nil {
			c.Op, c.Time = o.Op, o.resultTime(&x.s)
			o.OnClose(c, x.k, x.s.result(true), x.s.val)
		}
	}
	c.Time, c.Key, c.Headers = t, key, h
}

// sort puts windows into the order of (end, key).
func (o *keyWindows[K, A]) sort(c *task.Ctx, all []closing[K, A]) bool {
	var r ranks
	for i := range all {
		var err error
		if all[i].key, err = o.store.keys.Append(nil, all[i].k); err != nil {
			c.Task.Fail(&task.StateError{Store: o.store.name, Doing: "encode key", Err: err})
			return false
		}
		r.add(all[i].s.to, all[i].key)
	}
	arrange(all, r)
	return true
}

// Flush implements task.Flusher: it emits what has changed since the last epoch.
func (o *keyWindows[K, A]) Flush(c *task.Ctx) {
	t, key, h := c.Time, c.Key, c.Headers
	defer func() { c.Time, c.Key, c.Headers = t, key, h }()
	emit := func(k K, s *span[A], gone bool) bool {
		b, err := o.store.keys.Append(o.store.buf[:0], k)
		o.store.buf = b
		if err != nil {
			c.Task.Fail(&task.StateError{Store: o.store.name, Doing: "encode key", Err: err})
			return false
		}
		r := s.result(false)
		r.Retracted = gone
		c.Op, c.Time, c.Key, c.Headers = o.Op, s.time, b, nil
		o.OnCommit(c, k, r, s.val)
		return true
	}
	for i := range o.retracted {
		if !emit(o.retracted[i].key, &o.retracted[i].s, true) {
			return
		}
	}
	o.retracted = nil
	for _, e := range o.table.changed {
		for j := range e.val {
			s := &e.val[j]
			if s.changed && o.shown(s) && !emit(e.key, s, false) {
				return
			}
			s.changed, s.sent = false, true
		}
	}
}

// Restore implements task.Stateful: it looks through the store for what is to be closed when.
func (o *keyWindows[K, A]) Restore(m *task.Marker) error {
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
	complete := true
	for g := range o.store.groups {
		lo, hi := o.store.bounds(uint16(g), nil)
		err := o.store.task.View.Scan(lo, hi, func(key, value []byte) error {
			complete = false
			k, err := o.store.keys.Decode(o.store.userKey(key))
			if err != nil {
				return &task.StateError{Store: o.store.name, Doing: "decode key", Err: err}
			}
			_, _, value, err = entryHead(value)
			due, waits := int64(math.MaxInt64), false
			if err == nil {
				err = spanHeads(value, func(s span[A], _ []byte) error {
					due = min(due, o.needed(&s))
					waits = waits || s.waits
					return nil
				})
			}
			if err != nil {
				return &task.StateError{Store: o.store.name, Doing: "read windows", Err: err}
			}
			if due < math.MaxInt64 {
				o.schedule.need(k, due)
			}
			if waits && o.OnPace != nil {
				o.waiting[k] = struct{}{}
				o.paced.wait(o.clock, o.watermark())
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("store %s: %w", o.store.name, err)
		}
	}
	o.table = newTable[K, []span[A]](complete)
	return nil
}

// Cut implements task.Stateful.
func (o *keyWindows[K, A]) Cut(d *task.Delta) error {
	n := 0
	for _, e := range o.table.changed {
		n += len(e.val)
	}
	if len(o.table.changed) > 0 {
		o.spans = 1 + n/len(o.table.changed)
	}
	return o.store.cut(o.table, d, 0)
}

// Applied implements task.Stateful.
func (o *keyWindows[K, A]) Applied(epoch uint64) {
	o.table.applied(epoch)
	if over := o.Held() - o.store.task.Room(o.Held()); over > 0 {
		o.store.evict(o.table, over/o.perEntry()+1, epoch)
	}
}

func (o *keyWindows[K, A]) perEntry() int {
	return o.store.bareSize() + max(o.store.valBulk.bytes(), o.spans*int(unsafe.Sizeof(span[A]{})))
}

// Changed implements task.Stateful.
func (o *keyWindows[K, A]) Changed() int { return len(o.table.changed) * o.perEntry() }

// Held implements task.Stateful.
func (o *keyWindows[K, A]) Held() int {
	var k K
	return o.table.entries()*o.perEntry() + len(o.schedule.queue.list)*3*(int(unsafe.Sizeof(k))+16)
}

// ClosedThrough implements task.Closer.
func (o *keyWindows[K, A]) ClosedThrough() task.MarkerClosed {
	return task.MarkerClosed{Store: o.store.id, Through: o.watermark()}
}
