package stream

import (
	"time"

	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/plan"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

// Joined is the stream that a window join makes. LateLeft and LateRight have the records that came too late for it.
//
// A result has the key of both records, the later of their times, and the headers of the one that came second. A record
// that found no match (LeftJoin, OuterJoin) is emitted with its own time, and without headers, once: when the watermark
// of both streams is beyond its time + After + Grace (a left one) or + Before + Grace (a right one), because no record
// that could match is accepted any more. What follows sees a watermark that is lower by that much, so that it does not
// take these results for late. A record whose window is over when it comes, but not its grace, is emitted at once.
type Joined[K comparable, L, R, O any] struct {
	Keyed[K, O]
	late *lateSides[K, L, R]
}

type lateSides[K comparable, L, R any] struct {
	left  []func(*compiler) task.KeyedFn[K, operator.LateRecord[L]]
	right []func(*compiler) task.KeyedFn[K, operator.LateRecord[R]]
}

// Join joins two streams by key and time: f gets every left record (of this stream) with every right one within its
// window. The state is in a store of this name. A stream that is not partitioned by its keys is repartitioned, under the
// name with -left or -right behind it, unless Repartition has named it.
func (s Keyed[K, V]) Join[R, O any](name string, right Keyed[K, R], w window.Join, f func(V, R) O) Joined[K, V, R, O] {
	return join(s, right, "join", name, w, joinFns[V, R, O]{pair: f, missing: f == nil})
}

// LeftJoin is Join that emits also the left records without a match, with nil.
func (s Keyed[K, V]) LeftJoin[R, O any](name string, right Keyed[K, R], w window.Join, f func(V, *R) O) Joined[K, V, R, O] {
	return join(s, right, "leftjoin", name, w, joinFns[V, R, O]{missing: f == nil,
		pair: func(l V, r R) O { return f(l, &r) },
		left: func(l V) O { return f(l, nil) }})
}

// OuterJoin is Join that emits also the records of both sides without a match, with nil for the other.
func (s Keyed[K, V]) OuterJoin[R, O any](name string, right Keyed[K, R], w window.Join, f func(*V, *R) O) Joined[K, V, R, O] {
	return join(s, right, "outerjoin", name, w, joinFns[V, R, O]{missing: f == nil,
		pair:  func(l V, r R) O { return f(&l, &r) },
		left:  func(l V) O { return f(&l, nil) },
		right: func(r R) O { return f(nil, &r) }})
}

// joinFns are what a join makes of a pair, and of records without a match (nil: nothing).
type joinFns[L, R, O any] struct {
	pair    func(L, R) O
	left    func(L) O
	right   func(R) O
	missing bool
}

func join[K comparable, L, R, O any](left Keyed[K, L], right Keyed[K, R], kind plan.Kind, name string, w window.Join, f joinFns[L, R, O]) Joined[K, L, R, O] {
	t := left.t
	l, r := left.partitionedAs(name+"-left", name), right.partitionedAs(name+"-right", name)
	n := &keyedNode[K, O]{n: l.add(kind, name, w.String(), typeName[K]()+" → "+typeName[O]())}
	n.n.Keyed, n.n.Aligned = true, true
	out := Joined[K, L, R, O]{Keyed: Keyed[K, O]{t: t, node: n, keys: l.keys}, late: &lateSides[K, L, R]{}}
	t.function(n.n, f.missing)
	t.sameKeys(n.n, right.t, l.keys.Name(), r.keys.Name())
	if r.node.n != l.node.n && right.t == t {
		n.n.Inputs = append(n.n.Inputs, r.node.n)
	}
	if err := w.Check(); err != nil {
		t.graph.Errorf(n.n, "window: %v", err)
		w = window.Join{}
	}
	from, to := w.Bounds()
	before, after, grace := from.Milliseconds(), to.Milliseconds(), w.Grace.Milliseconds()
	lefts, rights := valueCodec(t, n.n, l.vals), valueCodec(t, n.n, r.vals)
	n.n.Store = &plan.Store{Name: name, Kind: "join", Key: l.keys.Name(), Value: lefts.Name() + ", " + rights.Name(), Window: w.String(), Evolves: true}
	if f.left != nil {
		n.n.Holds, n.n.Delay = true, max(0, after+grace)
	}
	if f.right != nil {
		n.n.Delay = max(n.n.Delay, before+grace)
	}
	l.wantsNulls(f.left != nil)
	r.wantsNulls(f.right != nil)
	type joiner interface {
		Left(*task.Ctx, K, L)
		Right(*task.Ctx, K, R)
	}
	op := func(b *compiler) joiner {
		return once(b, n.n, func() joiner {
			next := n.compile(b)
			spec := operator.StreamJoinSpec[K, L, R]{Op: b.op(n.n), Store: name,
				Keys: l.keys, Lefts: lefts, Rights: rights, Before: before, After: after, Grace: grace,
				Pair:     func(c *task.Ctx, k K, l L, r R) { next(c, k, f.pair(l, r)) },
				OnlyLeft: only[K](f.left, next), OnlyRight: only[K](f.right, next),
				LateLeft: lateFan(b, out.late.left), LateRight: lateFan(b, out.late.right)}
			if b.semantics.kafka {
				return operator.NewStreamTimeJoin(b.task, b.streamTime(), spec)
			}
			return operator.NewStreamJoin(b.task, b.clock(n.n), spec)
		})
	}
	l.sub(func(b *compiler) task.KeyedFn[K, L] { return op(b).Left })
	r.sub(func(b *compiler) task.KeyedFn[K, R] { return op(b).Right })
	return out
}

func only[K comparable, V, O any](f func(V) O, next task.KeyedFn[K, O]) task.KeyedFn[K, V] {
	if f == nil {
		return nil
	}
	return func(c *task.Ctx, k K, v V) { next(c, k, f(v)) }
}

// sameKeys notes that equal keys of two inputs would not meet.
func (t *Topology) sameKeys(n *plan.Node, other *Topology, left, right string) {
	switch {
	case other != t:
		t.graph.Errorf(n, "its other side is of another topology")
	case left != right:
		t.graph.Errorf(n, "the keys of its sides have the codecs %q and %q, so that equal keys would not meet: use one codec for both", left, right)
	}
}

// valueCodec is the codec of a stream's values in a store.
func valueCodec[V any](t *Topology, n *plan.Node, known codec.Codec[V]) codec.Codec[V] {
	if known != nil {
		return known
	}
	return defaultCodec[V](t, n, nil)
}

// once makes the operator of a node that several inputs lead to.
func once[O any](b *compiler, n *plan.Node, make func() O) O {
	if o, ok := b.made[n]; ok {
		return o.(O)
	}
	o := make()
	b.made[n] = o
	return o
}

// LateLeft makes a stream of the left records that came too late: more than the grace period behind the watermark.
// They are counted whether or not it is used. The Span of a LateRecord is empty.
func (j Joined[K, L, R, O]) LateLeft[X any](f func(K, LateRecord[L]) X) Stream[X] {
	n, sub := lateStream(j.t, j.node.n, LateForJoin, f)
	j.late.left = append(j.late.left, sub)
	return Stream[X]{t: j.t, node: n}
}

// LateRight is LateLeft for the right records.
func (j Joined[K, L, R, O]) LateRight[X any](f func(K, LateRecord[R]) X) Stream[X] {
	n, sub := lateStream(j.t, j.node.n, LateForJoin, f)
	j.late.right = append(j.late.right, sub)
	return Stream[X]{t: j.t, node: n}
}

// lateStream is a stream of an operator's late records.
func lateStream[K comparable, V, X any](t *Topology, of *plan.Node, why LateReason, f func(K, LateRecord[V]) X) (*node[X], func(*compiler) task.KeyedFn[K, operator.LateRecord[V]]) {
	n := &node[X]{n: t.graph.Add(&plan.Node{Kind: "late", Name: "late", Site: site(), Type: typeName[X](), Inputs: []*plan.Node{of}})}
	t.function(n.n, f == nil)
	return n, func(b *compiler) task.KeyedFn[K, operator.LateRecord[V]] {
		g := func(k K, l operator.LateRecord[V]) X {
			return f(k, LateRecord[V]{Value: l.Value, Time: time.UnixMilli(l.Time).UTC(), Watermark: time.UnixMilli(l.Watermark).UTC(), Reason: why})
		}
		return operator.Values(b.op(n.n), g, n.compile(b))
	}
}

// lateFan is where late records go; nil if nowhere.
func lateFan[K comparable, V any](b *compiler, subs []func(*compiler) task.KeyedFn[K, operator.LateRecord[V]]) task.KeyedFn[K, operator.LateRecord[V]] {
	if len(subs) == 0 {
		return nil
	}
	var next []task.KeyedFn[K, operator.LateRecord[V]]
	for _, f := range subs {
		next = append(next, f(b))
	}
	return operator.FanKeyed(next)
}
