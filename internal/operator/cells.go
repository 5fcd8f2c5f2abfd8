package operator

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// Cells are the entries of one state handle. Each has a sub-key below the key of the record at hand, and is an entry of
// its own in cache, changelog and store, so that one of many costs no more than the only one.
//
// A point look-up goes through the cache as that of any store. A scan of a key's cells merges two sorted lists: the cells
// that the store has, and those of the cache that the store may not have as they are, because they were changed and that
// is not applied yet. The latter are listed by key, from the change until it is applied. A key that was scanned to the end
// has its order remembered (see orders), so that the next scan needs the cache alone.
//
// A cell has expired when the watermark is more than the TTL past its time (see lapsed). Readers pass over it; the sweep
// removes it. A sweep goes through the store in steps, each with a move of the watermark, and begins anew after half of
// the TTL, so that an entry takes at most half as long again as it lives. What it looks at has been written within that
// time, so each write is looked at three times, more or less. No timer is kept for an entry, which would be a second
// entry.
type Cells[K, S comparable, V any] struct {
	rows[cell[K, S], V]
	CellsSpec[K, S, V]
	clock *task.Clock
	// fresh are the cells, by key, that the store may not have as they are.
	fresh   map[K][]S
	settled func(K) // is told of a key that has none of these any more; may be nil
	orders  orders[K, S]
	single  bool // a key has one cell, and is never scanned
	sweep   sweep
}

// CellsSpec is what the topology says about a state handle.
type CellsSpec[K, S comparable, V any] struct {
	Op    int32 // of the operator that has the handle
	Store string
	Keys  codec.Codec[K]
	Subs  codec.Codec[S] // the order of its bytes is that of the cells
	Vals  codec.Codec[V]
	TTL   int64 // ms; 0: nothing expires
	// At is the key and the context of the record or timer at hand.
	At func() (K, *task.Ctx)
	// Since is what a cell's age is counted from; nil: the time of the records that wrote it.
	Since func(s S) int64
	// Versions: a cell stays until the next one of its key, in time, is of that age. The sub-keys are the times, the newest
	// first.
	Versions bool
}

type cell[K, S comparable] struct {
	key K
	sub S
}

// newCells makes the cells of a handle, which are then added to the task.
func newCells[K, S comparable, V any](t *task.Task, clock *task.Clock, s CellsSpec[K, S, V]) *Cells[K, S, V] {
	o := &Cells[K, S, V]{rows: newRows(t, task.KindCell, s.Store, codec.Codec[cell[K, S]](cellCodec[K, S]{s.Keys, s.Subs}), s.Vals), CellsSpec: s, clock: clock, fresh: map[K][]S{}}
	o.flat = true // its values are replaced, never changed in place
	o.store.group = func(b []byte, groups int) uint16 {
		n, w := binary.Uvarint(b)
		return task.Group(b[w:w+int(n)], groups)
	}
	o.sweep.due = math.MinInt64
	return o
}

// added adds the cells to their task.
func (o *Cells[K, S, V]) added() *Cells[K, S, V] {
	o.store.task.AddStateful(o)
	if o.TTL > 0 {
		o.store.task.AddTimed(o)
	}
	return o
}

// lapsed says whether a cell of this sub-key and time has expired. A version has not, by itself.
func (o *Cells[K, S, V]) lapsed(s S, time int64) bool {
	if o.TTL == 0 || o.Versions || plant.Is("handle") {
		return false
	}
	if o.Since != nil {
		time = o.Since(s)
	}
	return behind(time, o.TTL, o.clock.W)
}

// touch notes that an entry is about to be another than the one in the store.
func (o *Cells[K, S, V]) touch(e *entry[cell[K, S], V]) {
	if !e.listed && !o.single {
		e.listed = true
		o.fresh[e.key.key] = append(o.fresh[e.key.key], e.key.sub)
	}
	o.table.touch(e)
}

// expire removes a cell.
func (o *Cells[K, S, V]) expire(e *entry[cell[K, S], V]) {
	o.touch(e)
	o.clear(e)
	o.store.task.Operators[o.Op].Expired++
}

// Get returns the cell of the key at hand; ok is false if there is none.
func (o *Cells[K, S, V]) Get(s S) (v V, ok bool) {
	k, c := o.At()
	e, err := o.get(cell[K, S]{k, s})
	if err != nil {
		c.Task.Fail(err)
	}
	if e == nil || o.lapsed(s, e.time) {
		return v, false
	}
	return e.val, true
}

// Put sets the cell of the key at hand.
func (o *Cells[K, S, V]) Put(s S, v V) {
	k, c := o.At()
	e, err := o.store.find(o.table, cell[K, S]{k, s}, 0)
	if err != nil {
		c.Task.Fail(err)
		return
	}
	if e.live && o.lapsed(s, e.time) {
		o.expire(e)
	}
	time := c.Time
	if e.live {
		time = max(time, e.time)
	}
	if o.lapsed(s, time) {
		o.store.task.Operators[o.Op].Expired++
		return
	}
	if !e.live {
		if err := o.orders.add(k, s, o.Subs); err != nil {
			c.Task.Fail(&task.StateError{Store: o.store.name, Doing: "encode sub-key", Err: err})
			return
		}
	}
	o.save(o, e)
	o.touch(e)
	e.live, e.val, e.time = true, v, time
	e.revision++
}

// Delete deletes the cell of the key at hand.
func (o *Cells[K, S, V]) Delete(s S) {
	k, c := o.At()
	e, err := o.get(cell[K, S]{k, s})
	switch {
	case err != nil:
		c.Task.Fail(err)
	case e != nil && o.lapsed(s, e.time):
		o.expire(e)
	case e != nil:
		o.save(o, e)
		o.touch(e)
		o.clear(e)
	}
}

// Undo implements task.Undoer.
func (o *Cells[K, S, V]) Undo() {
	x := o.pop()
	o.undo(x)
	e := o.table.lookup(x.key)
	if e == nil {
		return
	}
	o.touch(e)
	if e.live { // its order may have been found while it was not
		if err := o.orders.add(e.key.key, e.key.sub, o.Subs); err != nil {
			o.store.task.Fail(&task.StateError{Store: o.store.name, Doing: "encode sub-key", Err: err})
		}
	}
}

// DeleteAll deletes all cells of the key at hand.
func (o *Cells[K, S, V]) DeleteAll() {
	o.Scan(nil, nil, func(s S, _ V) bool { o.Delete(s); return true })
}

// listed is a cell that the store may not have as it is.
type listed[S comparable] struct {
	bytes []byte
	sub   S
}

// Scan calls f for the cells of the key at hand with lo <= sub-key < hi, in the order of their bytes, until it returns
// false. A nil hi means to the end. f may change the cells.
func (o *Cells[K, S, V]) Scan(lo, hi []byte, f func(s S, v V) bool) {
	k, c := o.At()
	scan := o.scan
	if x := o.orders.of[k]; x != nil {
		scan = func(k K, lo, hi []byte, f func(s S, v V) bool) error { return o.follow(x, k, lo, hi, f) }
	}
	if err := scan(k, lo, hi, f); err != nil && !errors.Is(err, errStop) {
		c.Task.Fail(err)
	}
}

func (o *Cells[K, S, V]) scan(k K, lo, hi []byte, f func(s S, v V) bool) error {
	fresh, err := o.freshIn(k, lo, hi)
	if err != nil {
		return err
	}
	prefix, err := o.prefix(k)
	if err != nil {
		return err
	}
	var found []listed[S]
	added := o.orders.added
	cached := func(e *entry[cell[K, S], V], sub []byte) error {
		if e == nil || !e.live || o.lapsed(e.key.sub, e.time) {
			return nil
		}
		if hi == nil {
			found = append(found, listed[S]{slices.Clone(sub), e.key.sub})
		}
		if !f(e.key.sub, e.val) {
			return errStop
		}
		return nil
	}
	from, to := slices.Concat(prefix, lo), slices.Concat(prefix, hi)
	if hi == nil {
		to = after(to)
	}
	err = o.store.task.View.Scan(from, to, func(key, value []byte) error {
		sub := key[len(prefix):]
		for len(fresh) > 0 && bytes.Compare(fresh[0].bytes, sub) <= 0 {
			x := fresh[0]
			fresh = fresh[1:]
			if err := cached(o.table.lookup(cell[K, S]{k, x.sub}), x.bytes); err != nil || bytes.Equal(x.bytes, sub) {
				return err
			}
		}
		s, err := o.Subs.Decode(sub)
		if err != nil {
			return &task.StateError{Store: o.store.name, Doing: "decode sub-key", Err: err}
		}
		e := o.table.lookup(cell[K, S]{k, s})
		if e == nil {
			e = &entry[cell[K, S], V]{key: cell[K, S]{k, s}}
			if err := o.store.decodeValue(value, e); err != nil {
				return err
			}
		}
		return cached(e, sub)
	})
	if err != nil {
		if errors.Is(err, errStop) {
			return err
		}
		return fmt.Errorf("store %s: %w", o.store.name, err)
	}
	for _, x := range fresh {
		if err := cached(o.table.lookup(cell[K, S]{k, x.sub}), x.bytes); err != nil {
			return err
		}
	}
	if len(lo) == 0 && hi == nil && o.orders.added == added {
		o.orders.set(k, found)
	}
	return nil
}

// freshIn are the cells of a key that the store may not have as they are, with lo <= sub-key < hi, in order.
func (o *Cells[K, S, V]) freshIn(k K, lo, hi []byte) (list []listed[S], err error) {
	var r ranks
	for _, s := range o.fresh[k] {
		b, err := o.Subs.Append(nil, s)
		if err != nil {
			return nil, &task.StateError{Store: o.store.name, Doing: "encode sub-key", Err: err}
		}
		if bytes.Compare(b, lo) >= 0 && (hi == nil || bytes.Compare(b, hi) < 0) {
			list = append(list, listed[S]{b, s})
			r.add(0, b)
		}
	}
	arrange(list, r)
	return slices.CompactFunc(list, func(a, b listed[S]) bool { return bytes.Equal(a.bytes, b.bytes) }), nil
}

// prefix is what the keys of a key's cells begin with.
func (o *Cells[K, S, V]) prefix(k K) ([]byte, error) {
	b := task.AppendPrefix(nil, o.store.kind, o.store.id, 0)
	b, err := appendLengthed(b, k, o.Keys)
	if err != nil {
		return nil, &task.StateError{Store: o.store.name, Doing: "encode key", Err: err}
	}
	binary.BigEndian.PutUint16(b[5:], o.store.group(b[task.PrefixLen:], o.store.groups))
	return b, nil
}

// last is the greatest sub-key of the key at hand, live or not; ok is false if there is none.
func (o *Cells[K, S, V]) last() (s S, ok bool, err error) {
	k, _ := o.At()
	prefix, err := o.prefix(k)
	if err != nil {
		return s, false, err
	}
	key, found, err := o.store.task.View.Last(prefix, after(slices.Clone(prefix)), nil)
	if err != nil {
		return s, false, fmt.Errorf("store %s: %w", o.store.name, err)
	}
	var greatest []byte
	if found {
		greatest = key[len(prefix):]
	}
	fresh, err := o.freshIn(k, nil, nil)
	if err != nil {
		return s, false, err
	}
	if n := len(fresh); n > 0 && (!found || bytes.Compare(fresh[n-1].bytes, greatest) > 0) {
		return fresh[n-1].sub, true, nil
	}
	if !found {
		return s, false, nil
	}
	if s, err = o.Subs.Decode(greatest); err != nil {
		return s, false, &task.StateError{Store: o.store.name, Doing: "decode sub-key", Err: err}
	}
	return s, true, nil
}

// Applied implements task.Stateful.
func (o *Cells[K, S, V]) Applied(epoch uint64) {
	o.table.applied(epoch)
	for k, subs := range o.fresh {
		subs = slices.DeleteFunc(subs, func(s S) bool {
			e := o.table.peek(cell[K, S]{k, s})
			if e == nil {
				return true
			}
			e.listed = !e.live || e.changed || e.epoch > epoch
			return !e.listed
		})
		if len(subs) == 0 {
			delete(o.fresh, k)
			if o.settled != nil {
				o.settled(k)
			}
		} else {
			o.fresh[k] = subs
		}
	}
	if over := o.Held() - o.store.task.Room(o.Held()); over > 0 {
		o.orders.clear()
		if over = o.store.size(o.table) - o.store.task.Room(o.Held()); over > 0 {
			o.store.evict(o.table, over/o.store.entrySize()+1, epoch)
		}
	}
}

// Held implements task.Stateful.
func (o *Cells[K, S, V]) Held() int { return o.store.size(o.table) + o.orders.held() }

// appendLengthed appends a key with its length in front.
func appendLengthed[K any](b []byte, k K, keys codec.Codec[K]) ([]byte, error) {
	at := len(b)
	b, err := keys.Append(append(b, 0), k)
	if err != nil {
		return b, err
	}
	n := len(b) - at - 1
	if n < 0x80 {
		b[at] = byte(n)
		return b, nil
	}
	return slices.Replace(b, at, at+1, binary.AppendUvarint(nil, uint64(n))...), nil
}

// cellCodec writes the key with its length in front, then the sub-key.
type cellCodec[K, S comparable] struct {
	keys codec.Codec[K]
	subs codec.Codec[S]
}

func (x cellCodec[K, S]) Name() string { return x.keys.Name() + ", " + x.subs.Name() }

func (x cellCodec[K, S]) Append(b []byte, c cell[K, S]) ([]byte, error) {
	b, err := appendLengthed(b, c.key, x.keys)
	if err != nil {
		return b, err
	}
	return x.subs.Append(b, c.sub)
}

func (x cellCodec[K, S]) Decode(b []byte) (c cell[K, S], err error) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return c, errDamaged
	}
	if c.key, err = x.keys.Decode(b[w : w+int(n)]); err != nil {
		return c, err
	}
	c.sub, err = x.subs.Decode(b[w+int(n):])
	return c, err
}
