package operator

import (
	"encoding/binary"
	"math"

	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// Regroup gives the rows of a table other keys. A change that moves a row becomes two: it goes from the old key first.
func Regroup[K, G comparable, V any](op int32, key func(K, V) G, next task.KeyedFn[G, Change[V]]) task.KeyedFn[K, Change[V]] {
	return func(c *task.Ctx, k K, ch Change[V]) {
		c.Enter(op)
		var from, to G
		if ch.Old != nil {
			from = key(k, *ch.Old)
		}
		if ch.New != nil {
			to = key(k, *ch.New)
		}
		if ch.Old == nil && ch.New == nil {
			c.Filter(op)
			return
		}
		c.Pass(op)
		if ch.Old != nil && ch.New != nil && from == to {
			next(c, to, ch)
			return
		}
		if ch.Old != nil {
			next(c, from, Change[V]{Old: ch.Old})
		}
		if ch.New != nil {
			next(c, to, Change[V]{New: ch.New})
		}
	}
}

// Group keeps an aggregate of the rows of each group: a new row is added, an old one subtracted. A group without rows
// has no aggregate.
type Group[G comparable, V, A any] struct {
	rows rows[G, grouped[A]]
	GroupSpec[G, V, A]
}

// GroupSpec is what the topology says about a Group.
type GroupSpec[G comparable, V, A any] struct {
	Op            int32
	Store         string
	Keys          codec.Codec[G]
	Vals          codec.Codec[A]
	Add, Subtract func(*A, V)
	Old           bool // see NewAggregate
	Changes       task.KeyedFn[G, Change[A]]
}

// grouped is a group's state.
type grouped[A any] struct {
	rows uint64
	val  A
}

// NewGroup adds the operator to a task.
func NewGroup[G comparable, V, A any](t *task.Task, s GroupSpec[G, V, A]) *Group[G, V, A] {
	o := &Group[G, V, A]{rows: newRows(t, task.KindGroup, s.Store, s.Keys, codec.Codec[grouped[A]](groupCodec[A]{s.Vals})), GroupSpec: s}
	t.AddStateful(&o.rows)
	return o
}

// Process takes a change of a row.
func (o *Group[G, V, A]) Process(c *task.Ctx, g G, ch Change[V]) {
	c.Enter(o.Op)
	e, err := o.rows.get(g)
	if err != nil {
		c.Task.Fail(err)
		return
	}
	var was Change[A]
	switch {
	case e == nil && ch.New == nil:
		c.Filter(o.Op)
		return
	case e == nil:
		e = o.rows.add(g)
		e.time, e.val = math.MinInt64, grouped[A]{}
	case o.Old:
		old, err := o.rows.copied(e.val)
		if err != nil {
			c.Task.Fail(err)
			return
		}
		was.Old = &old.val
	}
	if ch.Old != nil && e.val.rows > 0 {
		o.Subtract(&e.val.val, *ch.Old)
		e.val.rows--
	}
	if ch.New != nil {
		o.Add(&e.val.val, *ch.New)
		e.val.rows++
	}
	at := max(e.time, c.Time)
	if e.val.rows == 0 {
		o.rows.clear(e)
	} else {
		e.live, e.time = true, at
		e.revision++
		o.rows.table.touch(e)
		was.New = &e.val.val
	}
	c.Pass(o.Op)
	if o.Changes != nil {
		t := c.Time
		c.Time = at
		o.Changes(c, g, was)
		c.Time = t
	}
}

// Aggregate is the Lookup of the groups' aggregates.
func (o *Group[G, V, A]) Aggregate(c *task.Ctx, g G) (*A, int64) {
	v, t := o.rows.Row(c, g)
	if v == nil {
		return nil, 0
	}
	return &v.val, t
}

// groupCodec writes the number of rows as a uvarint, then the aggregate.
type groupCodec[A any] struct{ vals codec.Codec[A] }

func (g groupCodec[A]) Name() string { return g.vals.Name() }

func (g groupCodec[A]) Append(b []byte, v grouped[A]) ([]byte, error) {
	return g.vals.Append(binary.AppendUvarint(b, v.rows), v.val)
}

func (g groupCodec[A]) Decode(b []byte) (v grouped[A], err error) {
	n, w := binary.Uvarint(b)
	if w <= 0 {
		return v, errDamaged
	}
	v.rows = n
	v.val, err = g.vals.Decode(b[w:])
	return v, err
}

// ChangeCodec writes the change of a row as it travels to the row's group: a byte (1: there is an old value, 2: a new
// one), the old one with its length in front, the new one.
func ChangeCodec[V any](vals codec.Codec[V]) codec.Codec[Change[V]] { return changeCodec[V]{vals} }

type changeCodec[V any] struct{ vals codec.Codec[V] }

func (x changeCodec[V]) Name() string { return "change of " + x.vals.Name() }

func (x changeCodec[V]) Append(b []byte, ch Change[V]) (_ []byte, err error) {
	at := len(b)
	b = append(b, 0)
	if ch.Old != nil {
		old, err := x.vals.Append(nil, *ch.Old)
		if err != nil {
			return b, err
		}
		b[at] |= 1
		b = append(binary.AppendUvarint(b, uint64(len(old))), old...)
	}
	if ch.New != nil {
		b[at] |= 2
		return x.vals.Append(b, *ch.New)
	}
	return b, nil
}

func (x changeCodec[V]) Decode(b []byte) (ch Change[V], err error) {
	if len(b) == 0 || b[0] > 3 {
		return ch, errDamaged
	}
	flags := b[0]
	b = b[1:]
	if flags&1 != 0 {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			return ch, errDamaged
		}
		v, err := x.vals.Decode(b[w : w+int(n)])
		if err != nil {
			return ch, err
		}
		ch.Old, b = &v, b[w+int(n):]
	}
	if flags&2 != 0 {
		v, err := x.vals.Decode(b)
		if err != nil {
			return ch, err
		}
		ch.New = &v
	}
	return ch, nil
}
