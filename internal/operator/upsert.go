package operator

import (
	"fmt"

	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream/codec"
)

// Upsert keeps the newest value of each key, by arrival, and emits each change.
type Upsert[K comparable, V any] struct {
	rows    rows[K, V]
	op      int32
	changes task.KeyedFn[K, Change[V]]
	null    func(V) bool
	repeats bool
}

// NewUpsert adds the operator to a task. changes may be nil. With repeats they have also deletions of rows that are not
// there.
func NewUpsert[K comparable, V any](t *task.Task, op int32, store string, keys codec.Codec[K], vals codec.Codec[V], repeats bool, changes task.KeyedFn[K, Change[V]]) *Upsert[K, V] {
	o := &Upsert[K, V]{rows: newRows(t, task.KindValue, store, keys, vals), op: op, changes: changes, null: nullTest[V](), repeats: repeats}
	t.AddStateful(&o.rows)
	t.AddPrefetcher(&o.rows)
	return o
}

// Row is the store's Lookup.
func (o *Upsert[K, V]) Row(c *task.Ctx, k K) (*V, int64) { return o.rows.Row(c, k) }

// Process takes a value; a null deletes the row.
func (o *Upsert[K, V]) Process(c *task.Ctx, k K, v V) {
	if o.null != nil && o.null(v) {
		o.Put(c, k, nil)
		return
	}
	o.Put(c, k, &v)
}

// Put sets or, with nil, deletes a row. Deleting one that is not there is no change.
func (o *Upsert[K, V]) Put(c *task.Ctx, k K, v *V) {
	c.Enter(o.op)
	e, err := o.rows.get(k)
	if err != nil {
		c.Task.Fail(err)
		return
	}
	var ch Change[V]
	switch {
	case e != nil:
		old := e.val
		ch.Old = &old
	case v == nil && o.repeats && o.changes != nil:
		c.Pass(o.op)
		o.changes(c, k, ch)
		return
	case v == nil:
		c.Filter(o.op)
		return
	default:
		e = o.rows.add(k)
	}
	if v == nil && !plant.Is("table") { // planted: a deleted row stays
		o.rows.clear(e)
	} else if v == nil {
		c.Filter(o.op)
		return
	} else {
		e.val, e.live, e.time = *v, true, c.Time
		e.revision++
		o.rows.table.touch(e)
		ch.New = &e.val
	}
	c.Pass(o.op)
	if o.changes != nil {
		o.changes(c, k, ch)
	}
}

// TableSource decodes a port's records into rows: a null value deletes one. at is the time of a value, if it is not the
// record's; a deletion has the record's.
func TableSource[K comparable, V any](p *task.Port, s Reader, key codec.Codec[K], value codec.Codec[V], at func(V) int64, put func(c *task.Ctx, k K, v *V)) {
	keys := newInterner(key)
	p.Op, p.Keys = s.Op, key.Name()
	p.Run = func(c *task.Ctx, r *source.Record) {
		c.Enter(s.Op)
		switch {
		case r.Key == nil:
			c.Reject(ErrNullKey, &s.OnNullKey)
			return
		case s.MaxBytes > 0 && len(r.Value) > s.MaxBytes:
			c.Reject(fmt.Errorf("value has %d bytes, more than the source's MaxBytes of %d", len(r.Value), s.MaxBytes), nil)
			return
		}
		k, err := keys.decode(r.Key)
		if err != nil {
			c.Reject(fmt.Errorf("decode key with codec %s: %w", key.Name(), err), nil)
			return
		}
		var row *V
		if r.Value != nil {
			v, err := value.Decode(r.Value)
			if err != nil {
				c.Reject(fmt.Errorf("decode value with codec %s: %w", value.Name(), err), nil)
				return
			}
			row = &v
			if at != nil {
				c.Time = at(v)
			}
		}
		if err := plausible(c, c.Time); err != nil {
			c.Reject(err, nil)
			return
		}
		t := c.Time
		c.Pass(s.Op)
		put(c, k, row)
		p.Observe(t)
	}
}
