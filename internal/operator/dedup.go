package operator

import (
	"encoding/binary"

	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// Dedup lets the first record of each id of a key pass. It remembers an id, at the time of its record, until the
// watermark is more than the horizon past that; records of the id within the horizon of that time, before or after it,
// are duplicates. A record that is itself more than the horizon behind the watermark is late: what it may repeat has
// been forgotten.
type Dedup[K, ID comparable, V any] struct {
	DedupSpec[K, ID, V]
	task  *task.Task
	clock *task.Clock
	shelf *shelf[seen[K, ID], struct{}]
}

// DedupSpec is what the topology says about a Dedup.
type DedupSpec[K, ID comparable, V any] struct {
	Op      int32
	Store   string
	Keys    codec.Codec[K]
	IDs     codec.Codec[ID]
	ID      func(V) ID
	Horizon int64 // ms
	Next    task.KeyedFn[K, V]
	Late    task.KeyedFn[K, LateRecord[V]]
}

type seen[K, ID comparable] struct {
	key K
	id  ID
}

// NewDedup adds the operator to a task.
func NewDedup[K, ID comparable, V any](t *task.Task, clock *task.Clock, s DedupSpec[K, ID, V]) *Dedup[K, ID, V] {
	o := &Dedup[K, ID, V]{DedupSpec: s, task: t, clock: clock}
	o.shelf = newShelf[seen[K, ID], struct{}](t, s.Store, 0, seenCodec[K, ID]{s.Keys, s.IDs}, nothing{}, JoinBucket(s.Horizon, s.Horizon), s.Horizon, false)
	o.shelf.group = func(b []byte) uint16 {
		n, w := binary.Uvarint(b)
		return task.Group(b[w:w+int(n)], t.Spec.KeyGroups)
	}
	t.AddStateful(o)
	t.AddTimed(o)
	return o
}

// Process takes a record.
func (o *Dedup[K, ID, V]) Process(c *task.Ctx, k K, v V) {
	c.Enter(o.Op)
	x := seen[K, ID]{k, o.ID(v)}
	if behind(c.Time, o.Horizon, o.clock.W) {
		late(c, o.Op, k, v, o.clock.W, o.Late)
		return
	}
	found := false
	err := o.shelf.each(x, c.Time-o.Horizon, c.Time+o.Horizon, func(_ *list[struct{}], r *held[struct{}]) {
		found = found || plant.Is("ttl") || !behind(r.time, o.Horizon, o.clock.W) // its bucket lasts longer
	})
	if err != nil {
		c.Task.Fail(err)
		return
	}
	if found {
		c.Skip(o.Op)
		return
	}
	t := c.Time
	c.Pass(o.Op)
	o.Next(c, k, v)
	if c.Rejected() {
		return // the next one of the id is the first that passes
	}
	if err := o.shelf.add(x, t, struct{}{}, false); err != nil {
		c.Task.Fail(err)
	}
	o.clock.Need(o.shelf.due)
}

// Clock implements task.Timed.
func (o *Dedup[K, ID, V]) Clock() *task.Clock { return o.clock }

// Due implements task.Timed.
func (o *Dedup[K, ID, V]) Due() int64 { return o.shelf.due }

// Advance implements task.Timed.
func (o *Dedup[K, ID, V]) Advance(c *task.Ctx, w int64) {
	if _, err := o.shelf.advance(w); err != nil {
		c.Task.Fail(err)
	}
}

// Restore implements task.Stateful.
func (o *Dedup[K, ID, V]) Restore(m *task.Marker) error {
	o.clock.Resume(m, o.StoreID())
	return o.shelf.restore(m)
}

// Cut implements task.Stateful.
func (o *Dedup[K, ID, V]) Cut(d *task.Delta) error { return o.shelf.cut(d) }

// Applied implements task.Stateful.
func (o *Dedup[K, ID, V]) Applied(epoch uint64) {
	o.shelf.evict(o.task.Room(o.Held()), epoch)
}

// Changed implements task.Stateful.
func (o *Dedup[K, ID, V]) Changed() int { return o.shelf.changed * o.shelf.recordSize() }

// Held implements task.Stateful.
func (o *Dedup[K, ID, V]) Held() int { return o.shelf.held() }

// StoreID implements task.Stateful.
func (o *Dedup[K, ID, V]) StoreID() uint32 { return o.shelf.id }

// ClosedThrough implements task.Closer.
func (o *Dedup[K, ID, V]) ClosedThrough() task.MarkerClosed {
	return task.MarkerClosed{Store: o.StoreID(), Through: o.clock.W}
}

// seenCodec writes the key with its length in front, then the id.
type seenCodec[K, ID comparable] struct {
	keys codec.Codec[K]
	ids  codec.Codec[ID]
}

func (s seenCodec[K, ID]) Name() string { return s.keys.Name() + ", " + s.ids.Name() }

func (s seenCodec[K, ID]) Append(b []byte, x seen[K, ID]) ([]byte, error) {
	key, err := s.keys.Append(nil, x.key)
	if err != nil {
		return b, err
	}
	b = append(binary.AppendUvarint(b, uint64(len(key))), key...)
	return s.ids.Append(b, x.id)
}

func (s seenCodec[K, ID]) Decode(b []byte) (x seen[K, ID], err error) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return x, errDamaged
	}
	if x.key, err = s.keys.Decode(b[w : w+int(n)]); err != nil {
		return x, err
	}
	x.id, err = s.ids.Decode(b[w+int(n):])
	return x, err
}

// nothing is the codec of no value.
type nothing struct{}

func (nothing) Name() string                                { return "" }
func (nothing) Append(b []byte, _ struct{}) ([]byte, error) { return b, nil }
func (nothing) Decode([]byte) (struct{}, error)             { return struct{}{}, nil }
