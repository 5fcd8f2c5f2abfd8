package operator

import (
	"math"

	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// Update folds a record into an aggregate. first says that a is the zero value because there was none.
type Update[V, A any] func(a *A, v V, first bool)

// Aggregate keeps one aggregate per key, and emits each of its changes. The time of a change is the largest among the
// records that made it.
type Aggregate[K comparable, V, A any] struct {
	rows    rows[K, A]
	op      int32
	update  Update[V, A]
	old     bool
	changes task.KeyedFn[K, Change[A]]
	null    func(A) bool
	repeats bool
}

// NewAggregate adds the operator to a task. changes may be nil. With old they have the aggregate as it was before: a
// copy, made by the codec, because functions of the user change it in place. An aggregate that has become null is deleted; repeats is that of
// NewUpsert.
func NewAggregate[K comparable, V, A any](t *task.Task, op int32, store string, keys codec.Codec[K], vals codec.Codec[A], update Update[V, A], old, repeats bool, changes task.KeyedFn[K, Change[A]]) *Aggregate[K, V, A] {
	o := &Aggregate[K, V, A]{rows: newRows(t, task.KindValue, store, keys, vals), op: op, update: update, old: old, changes: changes, null: nullTest[A](), repeats: repeats}
	t.AddStateful(&o.rows)
	t.AddPrefetcher(&o.rows)
	return o
}

// Row is the store's Lookup.
func (o *Aggregate[K, V, A]) Row(c *task.Ctx, k K) (*A, int64) { return o.rows.Row(c, k) }

// Process takes a record.
func (o *Aggregate[K, V, A]) Process(c *task.Ctx, k K, v V) {
	c.Enter(o.op)
	e, err := o.rows.store.find(o.rows.table, k, 0)
	if err != nil {
		c.Task.Fail(err)
		return
	}
	var ch Change[A]
	switch {
	case !e.live:
		*e = entry[K, A]{key: e.key, epoch: e.epoch, changed: e.changed, logged: e.logged, recent: true, time: math.MinInt64}
	case o.old:
		if ch.Old, err = o.rows.copied(e.val); err != nil {
			c.Task.Fail(err)
			return
		}
	}
	was := e.live
	c.Pass(o.op)
	o.rows.save(&o.rows, e)
	o.update(&e.val, v, !e.live)
	if o.null != nil && o.null(e.val) {
		o.deleted(c, e, ch, was)
		return
	}
	e.live = true
	e.time = max(e.time, c.Time)
	e.revision++
	o.rows.table.touch(e)
	if o.changes != nil {
		t := c.Time
		c.Time = e.time
		ch.New = &e.val
		o.changes(c, k, ch)
		c.Time = t
	}
}

// deleted deletes an aggregate that has become null.
func (o *Aggregate[K, V, A]) deleted(c *task.Ctx, e *entry[K, A], ch Change[A], was bool) {
	k, t := e.key, c.Time
	c.Time = max(e.time, t)
	if was {
		o.rows.clear(e)
	} else if !e.changed && e.epoch == 0 {
		o.rows.table.remove(e)
	}
	if o.changes != nil && (was || o.repeats) {
		o.changes(c, k, ch)
	}
	c.Time = t
}
