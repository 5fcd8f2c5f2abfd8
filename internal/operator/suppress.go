package operator

import (
	"encoding/binary"
	"math"

	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// Suppress holds changes back: what has become of a key in the meantime is one change, emitted when its time has come,
// in the order of (time, key). When more keys wait than may, the first of them are emitted early.
//
// What waits is a store of its own, with values as bytes: each is encoded when it comes, and decoded when it goes. Which
// comes first is kept in memory, and made again from the store.
type Suppress[K comparable, A any] struct {
	rows[K, waiting]
	SuppressSpec[K, A]
	// clock is nil where operators have a stream time of their own; seen is that.
	clock *task.Clock
	seen  int64
	due   queue[string] // keys; those whose time differs from their entry's have been overtaken
	count int
}

// SuppressSpec is what the topology says about a Suppress.
type SuppressSpec[K comparable, A any] struct {
	Op    int32
	Store string
	Keys  codec.Codec[K]
	Vals  codec.Codec[A]
	// When is when a change is to be emitted: when the watermark reaches that. before is what it was for the change that
	// waits already; first says that there is none.
	When func(k K, v *A, time, before int64, first bool) int64
	// Shown is the time that a change is emitted with; nil: its own.
	Shown func(due, time int64) int64
	// Most is how many keys may wait; 0: any number.
	Most int
	// Rows has the rows whose changes wait; nil if they are not looked up.
	Rows Lookup[K, A]
	// Empty: a row that came and went while it waited is emitted as a deletion.
	Empty   bool
	Changes task.KeyedFn[K, Change[A]]
}

// waiting is a key's change that is held back.
type waiting struct {
	due      int64
	old, now []byte // encoded; nil: no row
}

// NewSuppress adds the operator to a task. Without a clock it goes by the largest time among the changes that it has seen.
func NewSuppress[K comparable, A any](t *task.Task, clock *task.Clock, s SuppressSpec[K, A]) *Suppress[K, A] {
	o := &Suppress[K, A]{rows: newRows(t, task.KindWaiting, s.Store, s.Keys, codec.Codec[waiting](waitingCodec[A]{s.Vals})), SuppressSpec: s, clock: clock, seen: math.MinInt64}
	t.AddStateful(o)
	if clock != nil {
		t.AddTimed(o)
	}
	return o
}

// Process takes a change.
func (o *Suppress[K, A]) Process(c *task.Ctx, k K, ch Change[A]) {
	c.Enter(o.Op)
	if err := o.hold(c, k, ch); err != nil {
		c.Task.Fail(err)
		return
	}
	w := o.now()
	if o.clock == nil {
		o.seen = max(o.seen, c.Time)
		w = o.seen
	}
	port := c.Port
	c.Port = nil // what is emitted is not this record's
	o.emit(c, w, o.Most)
	c.Port = port
	if o.clock != nil {
		o.clock.Need(o.due.next())
	}
}

func (o *Suppress[K, A]) now() int64 {
	if o.clock == nil {
		return o.seen
	}
	return o.clock.W
}

// hold merges a change into what waits for its key.
func (o *Suppress[K, A]) hold(c *task.Ctx, k K, ch Change[A]) error {
	e, err := o.get(k)
	if err != nil || e == nil && ch.Old == nil && ch.New == nil && !o.Empty {
		c.Filter(o.Op)
		return err // nothing, of which nothing is known
	}
	if e == nil {
		e = o.add(k)
	}
	was, first := e.val.due, !e.live
	if first {
		*e = entry[K, waiting]{key: e.key, epoch: e.epoch, changed: e.changed, logged: e.logged, recent: true}
		if e.val.old, err = o.encoded(ch.Old); err != nil {
			return err
		}
	}
	if e.val.now, err = o.encoded(ch.New); err != nil {
		return err
	}
	e.val.due = o.When(k, ch.New, c.Time, was, first || plant.Is("suppress")) // planted: each change starts the time anew
	e.live, e.time = true, c.Time
	e.revision++
	o.table.touch(e)
	if first {
		o.count++
		c.Hold(o.Op)
	} else {
		c.Filter(o.Op) // one of the two: what waited is overtaken
	}
	if first || e.val.due != was {
		return o.order(k, e.val.due)
	}
	return nil
}

func (o *Suppress[K, A]) order(k K, due int64) error {
	key, err := o.store.keys.Append(o.store.buf[:0], k)
	o.store.buf = key
	if err != nil {
		return &task.StateError{Store: o.store.name, Doing: "encode key", Err: err}
	}
	o.due.push(due, string(key))
	return nil
}

func (o *Suppress[K, A]) encoded(v *A) ([]byte, error) {
	if v == nil {
		return nil, nil
	}
	b, err := o.Vals.Append(make([]byte, 0, 16), *v)
	if err != nil {
		return nil, &task.StateError{Store: o.store.name, Doing: "encode state", Err: err}
	}
	return b, nil
}

func (o *Suppress[K, A]) decoded(b []byte) (*A, error) {
	if b == nil {
		return nil, nil
	}
	v, err := o.Vals.Decode(b)
	if err != nil {
		return nil, &task.StateError{Store: o.store.name, Doing: "decode state", Err: err}
	}
	return &v, nil
}

// emit emits what is due at the watermark w, and the first of what waits as long as more than most do.
func (o *Suppress[K, A]) emit(c *task.Ctx, w int64, most int) {
	t0, k0, h0 := c.Time, c.Key, c.Headers
	defer func() { c.Time, c.Key, c.Headers = t0, k0, h0 }()
	for len(o.due.list) > 0 && (o.due.next() <= w || most > 0 && o.count > most) {
		at := o.due.next()
		if err := o.release(c, at, []byte(o.due.pop())); err != nil {
			c.Task.Fail(err)
			return
		}
	}
}

func (o *Suppress[K, A]) release(c *task.Ctx, at int64, key []byte) error {
	k, err := o.store.keys.Decode(key)
	if err != nil {
		return &task.StateError{Store: o.store.name, Doing: "decode a waiting key", Err: err}
	}
	e, err := o.get(k)
	if err != nil || e == nil || e.val.due != at {
		return err
	}
	var ch Change[A]
	if ch.Old, err = o.decoded(e.val.old); err != nil {
		return err
	}
	if ch.New, err = o.decoded(e.val.now); err != nil {
		return err
	}
	c.Op, c.Time, c.Key, c.Headers = o.Op, e.time, key, nil
	if o.Shown != nil {
		c.Time = o.Shown(at, e.time)
	}
	o.clear(e)
	o.count--
	c.Release(o.Op)
	if o.Changes == nil || ch.Old == nil && ch.New == nil && !o.Empty {
		c.Filter(o.Op)
		return nil
	}
	c.Pass(o.Op)
	m := c.Begin()
	o.Changes(c, k, ch)
	c.End(m)
	return nil
}

// Row is the Lookup of the rows as they were emitted last. Of one that waits the time is not known.
func (o *Suppress[K, A]) Row(c *task.Ctx, k K) (*A, int64) {
	e, err := o.get(k)
	if err == nil && e == nil {
		return o.Rows(c, k)
	}
	var v *A
	if err == nil {
		v, err = o.decoded(e.val.old)
	}
	if err != nil {
		c.Task.Fail(err)
	}
	return v, math.MinInt64
}

// Clock implements task.Timed.
func (o *Suppress[K, A]) Clock() *task.Clock { return o.clock }

// Due implements task.Timed.
func (o *Suppress[K, A]) Due() int64 { return o.due.next() }

// Advance implements task.Timed.
func (o *Suppress[K, A]) Advance(c *task.Ctx, w int64) { o.emit(c, w, 0) }

// Restore implements task.Stateful.
func (o *Suppress[K, A]) Restore(m *task.Marker) error {
	if o.clock != nil {
		o.clock.Resume(m, o.store.id)
	} else if m != nil {
		for _, x := range m.Closed {
			if x.Store == o.store.id {
				o.seen = x.Through
			}
		}
	}
	o.table, o.due, o.count = newTable[K, waiting](false), queue[string]{before: byKey}, 0
	err := o.store.open()
	if err == nil {
		err = o.store.load(o.table, nil)
	}
	o.table.each(func(e *entry[K, waiting]) {
		if err == nil {
			o.count++
			err = o.order(e.key, e.val.due)
		}
	})
	return err
}

// ClosedThrough implements task.Closer.
func (o *Suppress[K, A]) ClosedThrough() task.MarkerClosed {
	return task.MarkerClosed{Store: o.store.id, Through: o.now()}
}

// Keeps implements task.Keeper.
func (o *Suppress[K, A]) Keeps() (int, error) { return o.count, nil }

// Operator implements task.Keeper.
func (o *Suppress[K, A]) Operator() int32 { return o.Op }

// Held implements task.Stateful.
func (o *Suppress[K, A]) Held() int { return o.store.size(o.table) + len(o.due.list)*80 }

// waitingCodec writes the time as a varint, a byte (1: there is an old value, 2: a new one), the old one with its length
// in front, the new one.
type waitingCodec[A any] struct{ vals codec.Codec[A] }

// Name is that of the values, which are all that the user's codec writes.
func (x waitingCodec[A]) Name() string { return x.vals.Name() }

// Reader implements codec.Evolving: the values are brought to the form that they would be written in now, since what
// waits is written anew as a whole when a further change joins it.
func (x waitingCodec[A]) Reader(name string) func(b []byte) (waiting, error) {
	read := codec.Reader(x.vals, name)
	if read == nil {
		return nil
	}
	again := func(b []byte) ([]byte, error) {
		if b == nil {
			return nil, nil
		}
		v, err := read(b)
		if err != nil {
			return nil, err
		}
		return x.vals.Append(make([]byte, 0, len(b)), v)
	}
	return func(b []byte) (v waiting, err error) {
		if v, err = x.Decode(b); err != nil {
			return v, err
		}
		if v.old, err = again(v.old); err != nil {
			return v, err
		}
		v.now, err = again(v.now)
		return v, err
	}
}

func (waitingCodec[A]) Append(b []byte, v waiting) ([]byte, error) {
	b = binary.AppendVarint(b, v.due)
	flags := byte(0)
	if v.old != nil {
		flags |= 1
	}
	if v.now != nil {
		flags |= 2
	}
	b = append(b, flags)
	if v.old != nil {
		b = append(binary.AppendUvarint(b, uint64(len(v.old))), v.old...)
	}
	return append(b, v.now...), nil
}

func (waitingCodec[A]) Decode(b []byte) (v waiting, err error) {
	due, n := binary.Varint(b)
	if n <= 0 || n >= len(b) || b[n] > 3 {
		return v, errDamaged
	}
	v.due = due
	flags, b := b[n], b[n+1:]
	if flags&1 != 0 {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return v, errDamaged
		}
		v.old = append(make([]byte, 0, size), b[n:n+int(size)]...)
		b = b[n+int(size):]
	}
	if flags&2 != 0 {
		v.now = append(make([]byte, 0, len(b)), b...)
	}
	return v, nil
}

// Newest makes changes of records: a null deletes what waits for its key.
func Newest[K comparable, V any](o *Suppress[K, V]) task.KeyedFn[K, V] {
	null := nullTest[V]()
	return func(c *task.Ctx, k K, v V) {
		if null != nil && null(v) {
			o.Process(c, k, Change[V]{})
		} else {
			o.Process(c, k, Change[V]{New: &v})
		}
	}
}
