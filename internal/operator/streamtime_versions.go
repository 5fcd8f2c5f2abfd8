package operator

import (
	"math"
	"slices"

	"github.com/millstream-go/millstream/internal/eventtime"
	"github.com/millstream-go/millstream/internal/task"
)

// StreamVersions is Versions by stream time, as Kafka Streams has versioned tables (KIP-889): what a row was is known as
// long as it is no more than History behind the newest record of the table, the newest version for ever. A record that is
// further behind is late. One that is older than the row's newest version is handed on too, as stale (task.Ctx.Stale).
//
// Versions that are over are forgotten when their key has a new one.
type StreamVersions[K comparable, V any] struct {
	rows[K, history[V]]
	VersionsSpec[K, V]
	time    *streamTime
	changes task.KeyedFn[K, Change[V]]
}

// NewStreamVersions adds the operator to a task. changes may be nil.
func NewStreamVersions[K comparable, V any](t *task.Task, s VersionsSpec[K, V], changes task.KeyedFn[K, Change[V]]) *StreamVersions[K, V] {
	o := &StreamVersions[K, V]{rows: newRows(t, task.KindVersions, s.Store, s.Keys, newHistoryCodec(s.Vals)), VersionsSpec: s,
		time: newStreamTime(t, s.Store, StreamTime{}), changes: changes}
	t.AddStateful(o)
	return o
}

// oldest is the first time that can be asked for.
func (o *StreamVersions[K, V]) oldest() int64 {
	if o.time.W == eventtime.None {
		return math.MinInt64
	}
	return o.time.W - o.History
}

// Put adds a version; nil deletes the row from then on.
func (o *StreamVersions[K, V]) Put(c *task.Ctx, k K, v *V) {
	c.Enter(o.Op)
	if c.Time < o.oldest() {
		late(c, o.Op, k, v, o.time.W, o.Late)
		return
	}
	o.time.see(c.Time)
	e, err := o.store.find(o.table, k, 0)
	if err != nil {
		c.Task.Fail(err)
		return
	}
	if !e.live {
		e.live, e.val, e.time = true, history[V]{due: eventtime.None}, math.MinInt64
	}
	c.Pass(o.Op)
	h := &e.val
	ch := Change[V]{New: v}
	stale := false
	if n := len(h.versions); n > 0 {
		ch.Old = h.versions[n-1].val
		stale = c.Time < h.versions[n-1].time
	}
	i := h.at(c.Time)
	if i >= 0 && h.versions[i].time == c.Time {
		h.versions[i].val = v
	} else {
		h.versions = slices.Insert(h.versions, i+1, version[V]{c.Time, v})
	}
	if i := h.at(o.oldest()); i > 0 {
		h.versions = slices.Delete(h.versions, 0, i)
	}
	e.time = max(e.time, c.Time)
	e.revision++
	o.table.touch(e)
	if o.changes != nil {
		c.Stale = stale
		o.changes(c, k, ch)
		c.Stale = false
	}
}

// AsOf finds the row of a key as it was at a time.
func (o *StreamVersions[K, V]) AsOf(c *task.Ctx, k K, t int64) *V {
	h, _ := o.Row(c, k)
	if h == nil {
		return nil
	}
	i := h.at(t)
	if i < 0 || i < len(h.versions)-1 && t < o.oldest() {
		return nil
	}
	return h.versions[i].val
}

// Newest is the Lookup of the newest versions.
func (o *StreamVersions[K, V]) Newest(c *task.Ctx, k K) (*V, int64) {
	h, _ := o.Row(c, k)
	if h == nil || len(h.versions) == 0 {
		return nil, 0
	}
	v := h.versions[len(h.versions)-1]
	if v.val == nil {
		return nil, 0
	}
	return v.val, v.time
}

// Restore implements task.Stateful.
func (o *StreamVersions[K, V]) Restore(m *task.Marker) error {
	if err := o.time.restore(); err != nil {
		return err
	}
	return o.rows.Restore(m)
}

// Cut implements task.Stateful.
func (o *StreamVersions[K, V]) Cut(d *task.Delta) error {
	o.time.cut(d)
	return o.rows.Cut(d)
}

// StreamAsOf is AsOf by stream time, as Kafka Streams joins a stream with a versioned table (KIP-923): a record waits
// until the newest record that has waited is grace past it, whatever the table's time. One that comes later than that, or
// any without a grace period, is joined at once.
type StreamAsOf[K comparable, V, W any] struct {
	AsOfSpec[K, V, W]
	task  *task.Task
	time  *streamTime
	grace int64
	held  *unmatched[K, V]
}

// NewStreamAsOf adds the operator to a task.
func NewStreamAsOf[K comparable, V, W any](t *task.Task, s AsOfSpec[K, V, W], grace int64) *StreamAsOf[K, V, W] {
	o := &StreamAsOf[K, V, W]{AsOfSpec: s, task: t, time: newStreamTime(t, s.Store, StreamTime{}), grace: grace, held: newUnmatched(t, s.Store, 0, s.Keys, s.Vals)}
	t.AddStateful(o)
	return o
}

// Process takes a record of the stream.
func (o *StreamAsOf[K, V, W]) Process(c *task.Ctx, k K, v V) {
	c.Enter(o.Op)
	if o.grace == 0 || behind(c.Time, o.grace, o.time.W) {
		o.Join(c, k, v, o.Row(c, k, c.Time))
		return
	}
	o.time.see(c.Time)
	if err := o.held.put(c.Time, k, v); err != nil {
		c.Task.Fail(err)
		return
	}
	c.Hold(o.Op)
	t, key, h := c.Time, c.Key, c.Headers
	n := 0
	for ; n < len(o.held.list) && o.held.list[n].time <= o.time.W-o.grace; n++ {
		r := &o.held.list[n]
		for _, v := range r.vals {
			c.Op, c.Time, c.Key, c.Headers = o.Op, r.time, []byte(r.bytes), nil
			c.Release(o.Op)
			o.Join(c, r.key, v, o.Row(c, r.key, r.time))
		}
	}
	c.Time, c.Key, c.Headers = t, key, h
	o.held.take(n)
}

// Restore implements task.Stateful.
func (o *StreamAsOf[K, V, W]) Restore(*task.Marker) error {
	if err := o.time.restore(); err != nil {
		return err
	}
	return o.held.restore()
}

// Cut implements task.Stateful.
func (o *StreamAsOf[K, V, W]) Cut(d *task.Delta) error {
	o.time.cut(d)
	return o.held.cut(d)
}

// Applied implements task.Stateful.
func (o *StreamAsOf[K, V, W]) Applied(uint64) {}

// Changed implements task.Stateful.
func (o *StreamAsOf[K, V, W]) Changed() int { return o.held.changed * 128 }

// Held implements task.Stateful.
func (o *StreamAsOf[K, V, W]) Held() int { return o.held.held() }

// StoreID implements task.Stateful.
func (o *StreamAsOf[K, V, W]) StoreID() uint32 { return o.held.id }
