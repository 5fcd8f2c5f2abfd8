package operator

import (
	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// AsOf joins a record with the row of its key as it was at the record's time. It holds the record until the watermark
// of both stream and table is past that time, so that all versions are there (the event-time temporal join of Flink).
// A record that comes behind the watermark is joined at once, with what is known; one that is behind it by more than the
// table's history is late.
type AsOf[K comparable, V, W any] struct {
	AsOfSpec[K, V, W]
	task  *task.Task
	clock *task.Clock
	shelf *shelf[K, V]
}

// AsOfSpec is what the topology says about an AsOf.
type AsOfSpec[K comparable, V, W any] struct {
	Op      int32
	Store   string
	Keys    codec.Codec[K]
	Vals    codec.Codec[V]
	History int64 // ms
	Row     func(c *task.Ctx, k K, t int64) *W
	// Join makes the result, and books the record.
	Join func(c *task.Ctx, k K, v V, row *W)
	Late task.KeyedFn[K, LateRecord[V]]
}

// asOfBucket is the width of the buckets that records wait in, in ms.
const asOfBucket = 10_000

// NewAsOf adds the operator to a task.
func NewAsOf[K comparable, V, W any](t *task.Task, clock *task.Clock, s AsOfSpec[K, V, W]) *AsOf[K, V, W] {
	o := &AsOf[K, V, W]{AsOfSpec: s, task: t, clock: clock, shelf: newShelf(t, s.Store, 0, s.Keys, s.Vals, asOfBucket, 0, true)}
	t.AddStateful(o)
	t.AddTimed(o)
	return o
}

// Process takes a record of the stream.
func (o *AsOf[K, V, W]) Process(c *task.Ctx, k K, v V) {
	c.Enter(o.Op)
	t, w := c.Time, o.clock.W
	switch {
	case behind(t, o.History, w):
		late(c, o.Op, k, v, w, o.Late)
	case behind(t, 0, w):
		o.Join(c, k, v, o.Row(c, k, t))
	default:
		if err := o.shelf.add(k, t, v, false); err != nil {
			c.Task.Fail(err)
		}
		c.Hold(o.Op)
		o.clock.Need(o.shelf.due)
	}
}

// Clock implements task.Timed.
func (o *AsOf[K, V, W]) Clock() *task.Clock { return o.clock }

// Due implements task.Timed.
func (o *AsOf[K, V, W]) Due() int64 { return o.shelf.due }

// Advance implements task.Timed: records are joined in the order of (time, key, arrival).
func (o *AsOf[K, V, W]) Advance(c *task.Ctx, w int64) {
	list, err := o.shelf.advance(w)
	if err != nil {
		c.Task.Fail(err)
		return
	}
	t, k, h := c.Time, c.Key, c.Headers
	for _, x := range list {
		at := x.time
		if plant.Is("asof") {
			at = w // the row as it is by now
		}
		c.Op, c.Time, c.Key, c.Headers = o.Op, x.time, []byte(x.bytes), nil
		c.Release(o.Op)
		m := c.Begin()
		o.Join(c, x.key, x.val, o.Row(c, x.key, at))
		c.End(m)
	}
	c.Time, c.Key, c.Headers = t, k, h
}

// Restore implements task.Stateful.
func (o *AsOf[K, V, W]) Restore(m *task.Marker) error {
	o.clock.Resume(m, o.StoreID())
	return o.shelf.restore(m)
}

// Cut implements task.Stateful.
func (o *AsOf[K, V, W]) Cut(d *task.Delta) error { return o.shelf.cut(d) }

// Applied implements task.Stateful.
func (o *AsOf[K, V, W]) Applied(epoch uint64) {
	o.shelf.evict(o.task.Room(o.Held()), epoch)
}

// Changed implements task.Stateful.
func (o *AsOf[K, V, W]) Changed() int { return o.shelf.changed * o.shelf.recordSize() }

// Held implements task.Stateful.
func (o *AsOf[K, V, W]) Held() int { return o.shelf.held() }

// StoreID implements task.Stateful.
func (o *AsOf[K, V, W]) StoreID() uint32 { return o.shelf.id }

// Keeps implements task.Keeper.
func (o *AsOf[K, V, W]) Keeps() (int, error) { return o.shelf.waits() }

// Operator implements task.Keeper.
func (o *AsOf[K, V, W]) Operator() int32 { return o.Op }

// ClosedThrough implements task.Closer.
func (o *AsOf[K, V, W]) ClosedThrough() task.MarkerClosed {
	return task.MarkerClosed{Store: o.StoreID(), Through: o.clock.W}
}
