package operator

import (
	"fmt"

	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/stream/codec"
)

// Operators on tables that keep nothing themselves: each handles the changes of a table, and has a Lookup that finds
// the same rows.

// FilterRows keeps the rows for which keep is true. With every, a change of a row that is kept neither before nor after it
// is handed on as well.
//
//go:noinline
func FilterRows[K comparable, V any](op int32, keep func(K, V) bool, every bool, next task.KeyedFn[K, Change[V]]) task.KeyedFn[K, Change[V]] {
	return func(c *task.Ctx, k K, ch Change[V]) {
		c.Enter(op)
		if ch.Old != nil && !keep(k, *ch.Old) {
			ch.Old = nil
		}
		if ch.New != nil && !keep(k, *ch.New) {
			ch.New = nil
		}
		if ch.Old == nil && ch.New == nil && !every {
			c.Filter(op)
			return
		}
		c.Pass(op)
		next(c, k, ch)
	}
}

// FilteredLookup is the Lookup of FilterRows.
func FilteredLookup[K comparable, V any](keep func(K, V) bool, in Lookup[K, V]) Lookup[K, V] {
	return func(c *task.Ctx, k K) (*V, int64) {
		v, t := in(c, k)
		if v == nil || !keep(k, *v) {
			return nil, 0
		}
		return v, t
	}
}

// MapRows applies f to the rows.
//
//go:noinline
func MapRows[K comparable, V, W any](op int32, f func(K, V) W, next task.KeyedFn[K, Change[W]]) task.KeyedFn[K, Change[V]] {
	mapped := rowFn(f)
	return func(c *task.Ctx, k K, ch Change[V]) {
		c.Enter(op)
		to := Change[W]{mapped(k, ch.Old), mapped(k, ch.New)}
		c.Pass(op)
		next(c, k, to)
	}
}

// rowFn is f for rows. Where it gives a null there is no row.
func rowFn[K comparable, V, W any](f func(K, V) W) func(K, *V) *W {
	null := nullTest[W]()
	return func(k K, v *V) *W {
		if v == nil {
			return nil
		}
		w := f(k, *v)
		if null != nil && null(w) {
			return nil
		}
		return &w
	}
}

// MappedLookup is the Lookup of MapRows.
func MappedLookup[K comparable, V, W any](f func(K, V) W, in Lookup[K, V]) Lookup[K, W] {
	mapped := rowFn(f)
	return func(c *task.Ctx, k K) (*W, int64) {
		v, t := in(c, k)
		return mapped(k, v), t
	}
}

// RowValues hands on the new values, as a stream, to the operator op. Deletions are left out, unless the type has a null to
// stand for them.
func RowValues[K comparable, V any](op int32, next task.KeyedFn[K, V]) task.KeyedFn[K, Change[V]] {
	if nullTest[V]() != nil {
		return func(c *task.Ctx, k K, ch Change[V]) {
			var v V
			if ch.New != nil {
				v = *ch.New
			}
			stale := c.Stale // no more than a record from here on
			c.Stale = false
			next(c, k, v)
			c.Stale = stale
		}
	}
	return func(c *task.Ctx, k K, ch Change[V]) {
		if ch.New == nil {
			c.Enter(op)
			c.Filter(op)
			return
		}
		next(c, k, *ch.New)
	}
}

// JoinRow joins a record with the row of its key; f says whether there is a result.
//
//go:noinline
func JoinRow[K comparable, V, W, O any](op int32, table Lookup[K, W], f func(V, *W) (O, bool), next task.KeyedFn[K, O]) task.KeyedFn[K, V] {
	return func(c *task.Ctx, k K, v V) {
		c.Enter(op)
		row, _ := table(c, k)
		o, ok := f(v, row)
		if !ok {
			c.Filter(op)
			return
		}
		c.Pass(op)
		next(c, k, o)
	}
}

// TableJoin joins two tables by key. A change of either side is a change of the result, with the later time of both
// rows.
type TableJoin[K comparable, L, R, O any] struct {
	Op        int32
	LeftRows  Lookup[K, L]
	RightRows Lookup[K, R]
	Pair      func(*L, *R) (O, bool) // false: no row
	Next      task.KeyedFn[K, Change[O]]
	// Repeats hands on also that a row is deleted which is not there, if the other table has one.
	Repeats bool
}

// Left takes a change of the left table.
func (j *TableJoin[K, L, R, O]) Left(c *task.Ctx, k K, ch Change[L]) {
	c.Enter(j.Op)
	if j.stale(c) {
		return
	}
	r, t := j.RightRows(c, k)
	j.change(c, k, r != nil, t, j.pair(ch.Old, r), j.pair(ch.New, r))
}

// Right takes a change of the right table.
func (j *TableJoin[K, L, R, O]) Right(c *task.Ctx, k K, ch Change[R]) {
	c.Enter(j.Op)
	if j.stale(c) {
		return
	}
	l, t := j.LeftRows(c, k)
	j.change(c, k, l != nil, t, j.pair(l, ch.Old), j.pair(l, ch.New))
}

// stale counts a stale change as skipped.
func (j *TableJoin[K, L, R, O]) stale(c *task.Ctx) bool {
	if c.Stale {
		c.Skip(j.Op)
	}
	return c.Stale
}

func (j *TableJoin[K, L, R, O]) pair(l *L, r *R) *O {
	if o, ok := j.Pair(l, r); ok {
		return &o
	}
	return nil
}

func (j *TableJoin[K, L, R, O]) change(c *task.Ctx, k K, other bool, at int64, before, now *O) {
	if before == nil && now == nil && !(j.Repeats && other) {
		c.Filter(j.Op)
		return
	}
	c.Pass(j.Op)
	t := c.Time
	if other {
		c.Time = max(t, at)
	}
	j.Next(c, k, Change[O]{before, now})
	c.Time = t
}

// Lookup finds rows of the result.
func (j *TableJoin[K, L, R, O]) Lookup(c *task.Ctx, k K) (*O, int64) {
	l, lt := j.LeftRows(c, k)
	r, rt := j.RightRows(c, k)
	switch {
	case l == nil:
		return j.pair(l, r), rt
	case r == nil:
		return j.pair(l, r), lt
	}
	return j.pair(l, r), max(lt, rt)
}

// TableSink writes changes: a deletion as a record without a value.
func TableSink[K comparable, V any](op int32, d *Destination, s sink.Sink[V], keys codec.Codec[K]) task.KeyedFn[K, Change[V]] {
	put := WithKey(op, keys, Unkeyed[K](Sink(op, d, s)))
	return func(c *task.Ctx, k K, ch Change[V]) {
		if ch.New != nil {
			put(c, k, *ch.New)
			return
		}
		c.Enter(op)
		b, err := keys.Append(c.Task.Out.Buf(), k)
		if err == nil {
			err = d.accepts(c, len(b))
		}
		if err != nil {
			c.Reject(fmt.Errorf("write to %s: %w", d.Name, err), s.Spec.OnError)
			return
		}
		c.Pass(op)
		c.Task.Out.Add(d.Name, sink.ByKey, b, len(b), kept(c.Headers), c.Time, true)
	}
}
