package stream

import (
	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/plan"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// Grouped is the rows of a table in groups, waiting for what to make of each.
type Grouped[G comparable, V any] struct {
	t    *Topology
	node *keyedNode[G, operator.Change[V]]
	keys codec.Codec[G]
	vals codec.Codec[V]
}

// GroupBy puts the rows into groups. A row that changes leaves its group and enters that of its new value, so that an
// aggregate counts each row once, as it is now. G is a string, an integer, a [16]byte, or derived from one.
func (s Table[K, A]) GroupBy[G comparable](key func(K, A) G) Grouped[G, A] {
	s.old()
	n := s.end("groupby", typeName[G]()+" → "+typeName[A]())
	n.Keyed = true
	s.t.function(n, key == nil)
	keys, err := codec.DefaultKey[G]()
	if err != nil {
		s.t.graph.Errorf(n, "%v", err)
	}
	out := Grouped[G, A]{s.t, &keyedNode[G, operator.Change[A]]{n: n}, orJSON(keys), valueCodec(s.t, n, s.vals)}
	s.sub(func(b *compiler) task.KeyedFn[K, operator.Change[A]] {
		if b.semantics.kafka {
			return operator.RegroupNoNulls(b.op(n), key, out.node.compile(b))
		}
		return operator.Regroup(b.op(n), key, out.node.compile(b))
	})
	return out
}

// Count counts the rows of each group, in a store of this name. A group without rows has none.
// S is found by the compiler.
func (g Grouped[G, V]) Count[S ~string](store S) Table[G, int64] {
	return group(g, "count", string(store), codec.Int64, func(n *int64, _ V) { *n++ }, func(n *int64, _ V) { *n-- })
}

// Fold keeps an aggregate for each group, in a store of this name: add takes a row that enters the group, subtract one
// that leaves it, in any order of the rows, so that each must undo the other. A group without rows has no aggregate.
// Changes travel to their group through a repartition of the store's name.
func (g Grouped[G, V]) Fold[A any](store string, add, subtract func(*A, V), state ...codec.Codec[A]) Table[G, A] {
	return group(g, "fold", store, nil, add, subtract, state...)
}

func group[G comparable, V, A any](g Grouped[G, V], kind plan.Kind, store string, known codec.Codec[A], add, subtract func(*A, V), state ...codec.Codec[A]) Table[G, A] {
	changes := operator.ChangeCodec(g.vals)
	in, _ := exchanged(g.t, g.node, g.keys, store, Repartitioning{}, "store "+store, []codec.Codec[operator.Change[V]]{changes})
	n := g.t.graph.Add(&plan.Node{Kind: kind, Name: store, Site: site(), Type: typeName[G]() + " → " + typeName[A](), Keyed: true, Inputs: []*plan.Node{in.n}})
	g.t.function(n, add == nil || subtract == nil)
	vals := known
	if vals == nil {
		vals = defaultCodec(g.t, n, state)
	}
	out, old := stored(g.t, n, "groups", g.keys, vals)
	type groups interface {
		Process(*task.Ctx, G, operator.Change[V])
		Aggregate(*task.Ctx, G) (*A, int64)
	}
	made := func(b *compiler) groups {
		return once(b, n, func() groups {
			spec := operator.GroupSpec[G, V, A]{Op: b.op(n), Store: store, Keys: g.keys, Vals: vals, Add: add, Subtract: subtract,
				Old: *old, Changes: out.changes(b)}
			if b.semantics.kafka {
				return operator.NewLastingGroup(b.task, spec)
			}
			return operator.NewGroup(b.task, spec)
		})
	}
	out.rows = func(b *compiler) operator.Lookup[G, A] {
		return func(c *task.Ctx, k G) (*A, int64) {
			if o, ok := b.made[n].(groups); ok {
				return o.Aggregate(c, k)
			}
			return nil, 0
		}
	}
	in.subs = append(in.subs, func(b *compiler) task.KeyedFn[G, operator.Change[V]] { return made(b).Process })
	return out
}
