package operator

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/millstream-go/millstream/internal/eventtime"
	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/internal/task"
)

// Punctuate calls a function of the user at intervals, once for a whole task, which may go over all keys of a Process.
// The times are the multiples of the interval. When several have passed, there is one call for all of them. When the next
// call is due is part of the state.
type Punctuate[K comparable, V, A any] struct {
	PunctuateSpec[K, V, A]
	of      *Process[K, V, A]
	clock   *task.Clock
	due     int64 // when the next call is due; notDue if none has been
	changed bool
	c       *task.Ctx
}

// PunctuateSpec is what the topology says about a Punctuate.
type PunctuateSpec[K comparable, V, A any] struct {
	Op    int32
	Every int64 // ms
	Wall  bool  // by the wall clock, not by event time
	// Stream has the rules of Kafka Streams: event time is the largest time among the records that the task has read;
	// times of the wall clock are counted from the first start, and what is emitted then has them as its event time.
	Stream bool
	OnTick func(p *Punctuate[K, V, A], at int64)
}

const notDue = math.MinInt64

// NewPunctuate adds the operator to a task, for the keys of a Process.
func NewPunctuate[K comparable, V, A any](t *task.Task, clock *task.Clock, of *Process[K, V, A], s PunctuateSpec[K, V, A]) *Punctuate[K, V, A] {
	o := &Punctuate[K, V, A]{PunctuateSpec: s, of: of, clock: clock, due: notDue}
	t.AddStateful(o)
	switch {
	case s.Wall:
		t.AddWallTimed(o)
	case s.Stream:
		t.AddFollower(o)
	default:
		t.AddTimed(o)
	}
	return o
}

// Clock implements task.Timed.
func (o *Punctuate[K, V, A]) Clock() *task.Clock { return o.clock }

// Due implements task.Timed. The first call comes with the first watermark.
func (o *Punctuate[K, V, A]) Due() int64 { return max(o.due, eventtime.None+1) }

// Advance implements task.Timed.
func (o *Punctuate[K, V, A]) Advance(c *task.Ctx, w int64) { o.tick(c, w, w) }

// Follow implements task.Follower.
func (o *Punctuate[K, V, A]) Follow(c *task.Ctx, t int64) {
	if t >= o.due {
		o.tick(c, t, t)
	}
}

// WallDue implements task.WallTimed. It is due at once when it is not known yet when the first call is.
func (o *Punctuate[K, V, A]) WallDue() int64 { return o.due }

// AdvanceWall implements task.WallTimed.
func (o *Punctuate[K, V, A]) AdvanceWall(c *task.Ctx, now int64) {
	switch {
	case o.due != notDue:
		t := now
		if !o.Stream && o.clock.W != eventtime.None {
			t = o.clock.W
		}
		o.tick(c, now, t)
	case o.Stream:
		o.due, o.changed = now+o.Every, true
	default:
		o.due, o.changed = o.next(now), true
	}
}

// next is the first time after t at which a call is due.
func (o *Punctuate[K, V, A]) next(t int64) int64 {
	from := int64(0) // of which the times are multiples away
	if o.Wall && o.Stream && o.due != notDue {
		from = o.due
	}
	n := (t - from) / o.Every
	if (t-from)%o.Every < 0 {
		n--
	}
	return from + (n+1)*o.Every
}

// tick makes the call that is due at now, by its clock; t is the event time of what it emits.
func (o *Punctuate[K, V, A]) tick(c *task.Ctx, now, t int64) {
	missed := plant.Is("every") && o.due != notDue && now >= o.due+o.Every // planted: of several times that have passed, none makes a call
	o.due, o.changed = o.next(now), true
	if missed {
		return
	}
	t0, k0, h0 := c.Time, c.Key, c.Headers
	c.Op, c.Time, c.Key, c.Headers = o.Op, t, nil, nil
	o.c = c
	m := c.Begin()
	o.OnTick(o, now)
	c.End(m)
	c.Time, c.Key, c.Headers = t0, k0, h0
}

// Watermark is the operator's watermark, in ms.
func (o *Punctuate[K, V, A]) Watermark() int64 { return o.clock.W }

// at makes k the key at hand. It says whether that has worked; if not, the task ends.
func (o *Punctuate[K, V, A]) at(k K) bool {
	b, err := o.of.store.keys.Append(nil, k)
	if err != nil {
		o.c.Task.Fail(&task.StateError{Store: o.of.store.name, Doing: "encode key", Err: err})
		return false
	}
	o.of.c, o.of.key, o.of.bytes, o.of.e = o.c, k, b, nil
	o.c.Key = b
	return true
}

// Key makes k the key of what is emitted, and returns the context to emit with; nil if the task has ended.
func (o *Punctuate[K, V, A]) Key(k K) *task.Ctx {
	if !o.at(k) {
		return nil
	}
	return o.c
}

// Get returns a key's state.
func (o *Punctuate[K, V, A]) Get(k K) (a A, ok bool) {
	if !o.at(k) {
		return a, false
	}
	return o.of.Get()
}

// Set replaces the state of a key that has one.
func (o *Punctuate[K, V, A]) Set(k K, a A) {
	if o.at(k) && o.of.known() != nil {
		*o.of.State() = a
	}
}

// Clear deletes the state of a key.
func (o *Punctuate[K, V, A]) Clear(k K) {
	if o.at(k) {
		o.of.Clear()
	}
}

// scanned is how many entries of the store are read at a time.
const scanned = 256

// All yields the keys that have a state, in the order of (key group, key bytes), whether the table has them in memory or
// only the store. It loads none into the table.
func (o *Punctuate[K, V, A]) All() iter.Seq2[K, A] {
	return func(yield func(K, A) bool) {
		s := &o.of.rows
		held, err := o.held()
		if err != nil {
			o.c.Task.Fail(err)
			return
		}
		give := func(k K) bool { // as it is by now
			e := s.table.lookup(k)
			return e == nil || !e.live || yield(k, e.val)
		}
		lo, _ := s.store.bounds(0, nil)
		_, hi := s.store.bounds(uint16(s.store.groups-1), nil)
		for lo != nil && !s.table.complete {
			var chunk []*entry[K, A]
			var at [][]byte
			if lo, err = o.read(lo, hi, &chunk, &at); err != nil {
				o.c.Task.Fail(err)
				return
			}
			for i, e := range chunk {
				for len(held) > 0 && bytes.Compare(held[0].at, at[i]) < 0 {
					if !give(held[0].key) {
						return
					}
					held = held[1:]
				}
				switch {
				case len(held) > 0 && bytes.Equal(held[0].at, at[i]): // the table knows better; it comes next
				case s.table.lookup(e.key) != nil: // it has been looked up meanwhile
					if !give(e.key) {
						return
					}
				case !yield(e.key, e.val):
					return
				}
			}
		}
		for _, h := range held {
			if !give(h.key) {
				return
			}
		}
	}
}

type heldKey[K comparable] struct {
	at  []byte // its key in the store
	key K
}

// held are the keys that the table has, in order.
func (o *Punctuate[K, V, A]) held() (list []heldKey[K], err error) {
	s := &o.of.rows
	s.table.each(func(e *entry[K, A]) {
		at, err2 := s.store.appendKey(nil, e.key, 0)
		err = errors.Join(err, err2)
		if e.live {
			list = append(list, heldKey[K]{at, e.key})
		}
	})
	slices.SortFunc(list, func(a, b heldKey[K]) int { return bytes.Compare(a.at, b.at) })
	return list, err
}

// read reads some entries of the store from lo on, and returns where to go on; nil at the end.
func (o *Punctuate[K, V, A]) read(lo, hi []byte, chunk *[]*entry[K, A], at *[][]byte) (next []byte, err error) {
	s := &o.of.rows
	err = s.store.task.View.Scan(lo, hi, func(key, value []byte) error {
		if len(*chunk) == scanned {
			next = slices.Clone(key)
			return errStop
		}
		k, err := s.store.keys.Decode(bytes.Clone(s.store.userKey(key)))
		if err != nil {
			return &task.StateError{Store: s.store.name, Doing: "decode key", Err: err}
		}
		e := &entry[K, A]{key: k}
		if err := s.store.decodeValue(bytes.Clone(value), e); err != nil {
			return err
		}
		*chunk, *at = append(*chunk, e), append(*at, slices.Clone(key))
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		return nil, fmt.Errorf("store %s: %w", s.store.name, err)
	}
	return next, nil
}

func (o *Punctuate[K, V, A]) key(b []byte) []byte {
	return task.AppendPrefix(b, task.KindNumbers, o.of.store.id, 0)
}

// StoreID implements task.Stateful.
func (o *Punctuate[K, V, A]) StoreID() uint32 { return o.of.store.id }

// Restore implements task.Stateful.
func (o *Punctuate[K, V, A]) Restore(*task.Marker) error {
	val, found, err := o.of.store.task.View.Get(o.key(nil), nil)
	if err != nil || !found {
		return err
	}
	due, n := binary.Varint(val)
	if n <= 0 || n < len(val) {
		return &task.StateError{Store: o.of.store.name, Doing: "read when a call is due", Err: errDamaged}
	}
	o.due = due
	return nil
}

// Cut implements task.Stateful.
func (o *Punctuate[K, V, A]) Cut(d *task.Delta) error {
	if o.changed {
		o.changed = false
		b := o.key(d.Buf(32))
		n := len(b)
		d.Put(binary.AppendVarint(b, o.due), n, false, false)
	}
	return nil
}

// Applied implements task.Stateful.
func (o *Punctuate[K, V, A]) Applied(uint64) {}

// Changed implements task.Stateful.
func (o *Punctuate[K, V, A]) Changed() int {
	if o.changed {
		return 16
	}
	return 0
}

// Held implements task.Stateful.
func (o *Punctuate[K, V, A]) Held() int { return 0 }
