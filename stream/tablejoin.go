package stream

import (
	"slices"

	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/plan"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// JoinTable joins each record with the row of its key, as it is when the record is processed, whatever their times; a
// record without one makes nothing. Only records make results, changes of the table do not. See JoinAsOf for the row as
// it was at the record's time.
//
// A stream that is not partitioned by its keys is repartitioned under this name, unless Repartition has named it. The
// result has the record's time, key and headers. A table makes no event time for the stream.
func (s Keyed[K, V]) JoinTable[W, O any](name string, table Table[K, W], f func(V, W) O) Keyed[K, O] {
	return joinRow(s, "jointable", name, table, false, f == nil, func(v V, w *W) (o O, ok bool) {
		if w == nil {
			return o, false
		}
		return f(v, *w), true
	})
}

// LeftJoinTable is JoinTable that makes a result also of a record without a row, with nil.
func (s Keyed[K, V]) LeftJoinTable[W, O any](name string, table Table[K, W], f func(V, *W) O) Keyed[K, O] {
	return joinRow(s, "leftjointable", name, table, true, f == nil, func(v V, w *W) (O, bool) { return f(v, copyOf(w)), true })
}

// copyOf is what a function of the user may keep.
func copyOf[V any](v *V) *V {
	if v == nil {
		return nil
	}
	c := *v
	return &c
}

func joinRow[K comparable, V, W, O any](s Keyed[K, V], kind plan.Kind, name string, table Table[K, W], left, missing bool, f func(V, *W) (O, bool)) Keyed[K, O] {
	s = s.besides(name)
	s.wantsNulls(left)
	n := &keyedNode[K, O]{n: s.add(kind, name, "", typeName[K]()+" → "+typeName[O]())}
	n.n.Keyed, n.n.Aligned = true, true
	s.t.function(n.n, missing)
	s.t.sameKeys(n.n, table.t, s.keys.Name(), table.keys.Name())
	if table.t == s.t {
		n.n.Tables = []*plan.Node{table.node.n}
	}
	s.sub(func(b *compiler) task.KeyedFn[K, V] {
		join := operator.JoinRow(b.op(n.n), table.rows(b), f, n.compile(b))
		if b.semantics.kafka {
			return operator.NoNulls(b.op(n.n), !left, true, join)
		}
		return join
	})
	return Keyed[K, O]{t: s.t, node: n, keys: s.keys}
}

// besides is partitioned for an operator without a store.
func (s Keyed[K, V]) besides(name string) Keyed[K, V] {
	if s.exchange != nil && s.exchange.made == nil && !plan.ValidName(name) {
		s.t.graph.Errorf(s.node.n, "its repartition would be named %q, after the join: use 1 to 100 of the characters a-z A-Z 0-9 . _ -", name)
	}
	return s.partitioned(name)
}

// Join joins two tables by key: the result has a row where both have one, and changes with either. It keeps nothing
// itself. The two must not come from the same store, because one change would then be two.
func (s Table[K, A]) Join[B, O any](other Table[K, B], f func(A, B) O) Table[K, O] {
	return joinTables(s, other, "join", f == nil, func(a *A, b *B) (o O, ok bool) {
		if a == nil || b == nil {
			return o, false
		}
		return f(*a, *b), true
	})
}

// LeftJoin is Join with a row for each row of this table; nil stands for a missing one of the other.
func (s Table[K, A]) LeftJoin[B, O any](other Table[K, B], f func(A, *B) O) Table[K, O] {
	return joinTables(s, other, "leftjoin", f == nil, func(a *A, b *B) (o O, ok bool) {
		if a == nil {
			return o, false
		}
		return f(*a, copyOf(b)), true
	})
}

// OuterJoin is Join with a row where either table has one; nil stands for a missing one.
func (s Table[K, A]) OuterJoin[B, O any](other Table[K, B], f func(*A, *B) O) Table[K, O] {
	return joinTables(s, other, "outerjoin", f == nil, func(a *A, b *B) (o O, ok bool) {
		if a == nil && b == nil {
			return o, false
		}
		return f(copyOf(a), copyOf(b)), true
	})
}

func joinTables[K comparable, A, B, O any](left Table[K, A], right Table[K, B], kind plan.Kind, missing bool, pair func(*A, *B) (O, bool)) Table[K, O] {
	left.old()
	right.old()
	var out Table[K, O]
	op := func(b *compiler, next task.KeyedFn[K, operator.Change[O]]) *operator.TableJoin[K, A, B, O] {
		return &operator.TableJoin[K, A, B, O]{Op: b.op(out.node.n), LeftRows: left.rows(b), RightRows: right.rows(b), Pair: pair, Next: next, Repeats: b.semantics.kafka}
	}
	out = derived(left, kind, "", codec.Codec[O](nil), func(b *compiler) operator.Lookup[K, O] { return op(b, nil).Lookup })
	out.old = func() {} // old rows are there
	out.versions = false
	n := out.node.n
	n.Aligned = true
	left.t.function(n, missing)
	left.t.sameKeys(n, right.t, left.keys.Name(), right.keys.Name())
	if right.t == left.t {
		n.Inputs = append(n.Inputs, right.node.n)
	}
	for _, r := range plan.Rows(right.node.n) {
		if slices.Contains(plan.Rows(left.node.n), r) {
			left.t.graph.Errorf(n, "both sides come from the store %q, and one change of it would be two of the result: join it once, and use MapValues for the parts", r.Name)
			break
		}
	}
	left.sub(func(b *compiler) task.KeyedFn[K, operator.Change[A]] { return op(b, out.node.compile(b)).Left })
	right.sub(func(b *compiler) task.KeyedFn[K, operator.Change[B]] { return op(b, out.node.compile(b)).Right })
	return out
}
