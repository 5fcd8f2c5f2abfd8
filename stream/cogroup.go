package stream

import (
	"strconv"

	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/plan"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

// Cogrouped is several streams with the same keys, waiting for the one aggregate that they make: rides and requests of
// an area, say. Each has a function of its own that adds its records. One store holds the aggregate; it needs neither a
// join nor a type that all streams share.
type Cogrouped[K comparable, A any] struct {
	t       *Topology
	keys    codec.Codec[K]
	inputs  []func(store string, i int, n *plan.Node, next *keyedNode[K, Contribution[A]]) *plan.Node
	missing bool
}

// Contribution is a record of one of several cogrouped streams, as what it adds to their aggregate: what a late record
// of a window is known by, since the streams have different types. It is good during the call that it was given to.
type Contribution[A any] struct{ c operator.Contribution[A] }

// AddTo adds the record to an aggregate, with the function of its stream.
func (x Contribution[A]) AddTo(a *A) { x.c.AddTo(a) }

// IsNull implements codec.Nullable: it says that the record's value is a null.
func (x Contribution[A]) IsNull() bool { return x.c == nil || x.c.Null() }

// Cogroup begins an aggregate of several streams: add adds the records of this one, With names the others, and Fold says
// where it is kept. Streams that are not partitioned by their keys are repartitioned, under the name of the store with
// -1, -2 and so on behind it, unless Repartition has named them.
func (s Keyed[K, V]) Cogroup[A any](add func(*A, V)) Cogrouped[K, A] {
	return Cogrouped[K, A]{t: s.t, keys: s.keys}.With(s, add)
}

// With adds the records of a further stream. Its keys have the same codec.
func (g Cogrouped[K, A]) With[V any](s Keyed[K, V], add func(*A, V)) Cogrouped[K, A] {
	g.missing = g.missing || add == nil
	g.inputs = append(g.inputs[:len(g.inputs):len(g.inputs)], func(store string, i int, n *plan.Node, next *keyedNode[K, Contribution[A]]) *plan.Node {
		g.t.sameKeys(n, s.t, g.keys.Name(), s.keys.Name())
		if s.t != g.t {
			return nil
		}
		in := s.partitionedAs(store+"-"+strconv.Itoa(i+1), store)
		in.sub(func(b *compiler) task.KeyedFn[K, V] {
			sum := next.compile(b)
			return operator.Contribute(b.op(n), i, add, func(c *task.Ctx, k K, x operator.Contribution[A]) { sum(c, k, Contribution[A]{x}) })
		})
		return in.node.n
	})
	return g
}

// union is the stream of all contributions, for an aggregate in a store of this name.
func (g Cogrouped[K, A]) union(store string) Keyed[K, Contribution[A]] {
	n := g.t.graph.Add(&plan.Node{Kind: "cogroup", Name: "cogroup", Site: site(), Detail: strconv.Itoa(len(g.inputs)) + " streams",
		Type: typeName[K]() + " → " + typeName[A](), Keyed: true, Aligned: true})
	g.t.function(n, g.missing)
	out := Keyed[K, Contribution[A]]{t: g.t, node: &keyedNode[K, Contribution[A]]{n: n}, keys: g.keys}
	seen := map[*plan.Node]bool{}
	for i, input := range g.inputs {
		if in := input(store, i, n, out.node); in != nil && !seen[in] {
			seen[in] = true
			n.Inputs = append(n.Inputs, in)
		}
	}
	return out
}

// Fold keeps the aggregate for each key, starting from the zero value, in a store of this name. The state is written
// with the codec given, or with the built-in one for its type, or as JSON.
func (g Cogrouped[K, A]) Fold(store string, state ...codec.Codec[A]) Table[K, A] {
	return g.union(store).Fold(store, addTo[A], state...)
}

func addTo[A any](a *A, x Contribution[A]) { x.AddTo(a) }

// Window groups the records of all streams by key into windows.
func (g Cogrouped[K, A]) Window(w window.Window) CogroupedWindows[K, A] {
	return CogroupedWindows[K, A]{g, w}
}

// CogroupedWindows is Cogrouped in windows. Their time is the slowest of the streams'.
type CogroupedWindows[K comparable, A any] struct {
	g Cogrouped[K, A]
	w window.Window
}

// Fold keeps the aggregate for each key and window, starting from the zero value; see Windowed.Fold.
func (w CogroupedWindows[K, A]) Fold(store string, state ...codec.Codec[A]) Aggregated[K, Contribution[A], A] {
	return w.g.union(store).Window(w.w).Fold(store, addTo[A], state...)
}

// FoldMerge is Fold for windows that are merged, sessions; see Windowed.FoldMerge.
func (w CogroupedWindows[K, A]) FoldMerge(store string, merge func(a *A, b A), state ...codec.Codec[A]) Aggregated[K, Contribution[A], A] {
	return w.g.union(store).Window(w.w).FoldMerge(store, addTo[A], merge, state...)
}
