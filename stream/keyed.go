package stream

import (
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/plan"
	engine "github.com/millstream-go/millstream/internal/runtime"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

// Keyed is a stream of values with keys. It is what state, windows and joins are made from. Records of one key keep
// their order, as far as they come from one source partition.
type Keyed[K comparable, V any] struct {
	t        *Topology
	node     *keyedNode[K, V]
	keys     codec.Codec[K]
	vals     codec.Codec[V]
	exchange *exchange[K, V] // nil: the stream is partitioned by its keys already
}

// exchange is the repartition that a KeyBy needs as soon as something with state follows.
type exchange[K comparable, V any] struct {
	made  *Keyed[K, V]
	named bool
	first string
}

func (s Keyed[K, V]) add(kind plan.Kind, name, detail, typ string) *plan.Node {
	return s.t.graph.Add(&plan.Node{Kind: kind, Name: name, Site: site(), Detail: detail, Type: typ, Inputs: []*plan.Node{s.node.n}})
}

func (s Keyed[K, V]) sub(f func(*compiler) task.KeyedFn[K, V]) { s.node.subs = append(s.node.subs, f) }

// after is the result of an operator that leaves the keys alone.
func after[K comparable, V, W any](s Keyed[K, V], kind plan.Kind, vals codec.Codec[W]) Keyed[K, W] {
	n := s.add(kind, string(kind), "", typeName[K]()+" → "+typeName[W]())
	n.Keyed = true
	out := Keyed[K, W]{t: s.t, node: &keyedNode[K, W]{n: n}, keys: s.keys, vals: vals}
	if s.exchange != nil {
		out.exchange = &exchange[K, W]{}
	}
	return out
}

// MapValues replaces each value by f of it and its key.
func (s Keyed[K, V]) MapValues[W any](f func(K, V) W) Keyed[K, W] {
	out := after[K, V, W](s, "mapvalues", nil)
	s.t.function(out.node.n, f == nil)
	s.sub(func(b *compiler) task.KeyedFn[K, V] {
		return operator.MapValues(b.op(out.node.n), f, out.node.compile(b))
	})
	return out
}

// FlatMapValues replaces each value by those that f yields for it and its key. They take over the record's time, key and
// headers.
func (s Keyed[K, V]) FlatMapValues[W any](f func(K, V) iter.Seq[W]) Keyed[K, W] {
	out := after[K, V, W](s, "flatmapvalues", nil)
	s.t.function(out.node.n, f == nil)
	s.sub(func(b *compiler) task.KeyedFn[K, V] {
		return operator.FlatMapValues(b.op(out.node.n), f, out.node.compile(b))
	})
	return out
}

// Filter keeps the records for which keep is true.
func (s Keyed[K, V]) Filter(keep func(K, V) bool) Keyed[K, V] {
	out := after(s, "filter", s.vals)
	s.t.function(out.node.n, keep == nil)
	s.sub(func(b *compiler) task.KeyedFn[K, V] {
		return operator.FilterKeyed(b.op(out.node.n), keep, out.node.compile(b))
	})
	return out
}

// Peek calls f with each record and hands it on; see Stream.Peek.
func (s Keyed[K, V]) Peek(f func(K, V)) Keyed[K, V] {
	out := after(s, "peek", s.vals)
	s.t.function(out.node.n, f == nil)
	s.sub(func(b *compiler) task.KeyedFn[K, V] {
		return operator.PeekKeyed(b.op(out.node.n), f, out.node.compile(b))
	})
	return out
}

// Map makes a stream without a typed key from the records; they keep their keys' bytes.
func (s Keyed[K, V]) Map[W any](f func(K, V) W) Stream[W] {
	n := &node[W]{n: s.add("map", "map", "", typeName[W]())}
	s.t.function(n.n, f == nil)
	s.sub(func(b *compiler) task.KeyedFn[K, V] {
		return s.withKey(b, n.n, operator.Values(b.op(n.n), f, n.compile(b)))
	})
	return Stream[W]{t: s.t, node: n}
}

// Merge is the union of streams with the same keys. Streams that are partitioned already must have equal numbers of
// partitions.
func (s Keyed[K, V]) Merge(others ...Keyed[K, V]) Keyed[K, V] {
	out := after(s, "merge", s.vals)
	out.node.n.Aligned = s.exchange == nil
	for _, o := range append([]Keyed[K, V]{s}, others...) {
		switch {
		case o.t != s.t:
			s.t.graph.Errorf(out.node.n, "a stream of another topology cannot be merged")
			continue
		case (o.exchange == nil) != (s.exchange == nil):
			s.t.graph.Errorf(out.node.n, "one of the streams is partitioned by its keys and another is not: call Repartition on that one")
			continue
		case o.keys.Name() != s.keys.Name():
			s.t.graph.Errorf(out.node.n, "the streams' keys have the codecs %q and %q, so that equal keys would not meet: use one codec for both", s.keys.Name(), o.keys.Name())
			continue
		case o.node.n != s.node.n:
			out.node.n.Inputs = append(out.node.n.Inputs, o.node.n)
		}
		o.sub(func(b *compiler) task.KeyedFn[K, V] { return out.node.compile(b) })
	}
	return out
}

// EventTime is Stream.EventTime for a keyed source.
func (s Keyed[K, V]) EventTime(at func(V) time.Time, w Watermark) Keyed[K, V] {
	out := after(s, "event time", s.vals)
	out.node.n.Detail = w.String()
	s.t.function(out.node.n, at == nil)
	s.t.watermark(out.node.n, w)
	ms := func(v V) int64 { return at(v).UnixMilli() }
	s.sub(func(b *compiler) task.KeyedFn[K, V] {
		return operator.EventTimeKeyed(b.op(out.node.n), ms, out.node.compile(b))
	})
	return out
}

// Watermark is Stream.Watermark for a keyed source.
func (s Keyed[K, V]) Watermark(w Watermark) Keyed[K, V] {
	out := after(s, "watermark", s.vals)
	out.node.n.Detail = w.String()
	s.t.watermark(out.node.n, w)
	s.sub(func(b *compiler) task.KeyedFn[K, V] { return out.node.compile(b) })
	return out
}

// Repartitioning is how a repartition is done.
type Repartitioning struct {
	// Partitions is the number of partitions of the repartition topic, fixed when it is created. Zero: as many as the
	// largest source before it.
	Partitions int32
}

// Repartition names the repartition that brings the records of a key together, where one KeyBy feeds several
// operators with state, or where number of partitions or codec are to be chosen. The name lasts: it is part of the
// repartition topic's.
// S is found by the compiler.
func (s Keyed[K, V]) Repartition[S ~string](name S, r Repartitioning, vals ...codec.Codec[V]) Keyed[K, V] {
	if s.exchange == nil {
		s.exchange = &exchange[K, V]{}
	}
	if s.exchange.made != nil {
		s.t.graph.Errorf(s.node.n, "it has a repartition already, of the name %q", s.exchange.made.node.n.Name)
		return *s.exchange.made
	}
	return s.repartition(string(name), r, "", vals)
}

func (s Keyed[K, V]) repartition(name string, r Repartitioning, implied string, vals []codec.Codec[V]) Keyed[K, V] {
	if s.vals != nil && len(vals) == 0 {
		vals = []codec.Codec[V]{s.vals}
	}
	n, value := exchanged(s.t, s.node, s.keys, name, r, implied, vals)
	out := Keyed[K, V]{t: s.t, node: n, keys: s.keys, vals: value}
	s.exchange.made, s.exchange.named, s.exchange.first = &out, implied == "", strings.TrimPrefix(implied, "store ")
	return out
}

// exchanged is what comes out of a repartition.
func exchanged[K comparable, V any](t *Topology, from *keyedNode[K, V], keys codec.Codec[K], name string, r Repartitioning, implied string, vals []codec.Codec[V]) (*keyedNode[K, V], codec.Codec[V]) {
	n := t.graph.Add(&plan.Node{Kind: plan.Repartition, Name: name, Site: site(), Type: typeName[K]() + " → " + typeName[V](), Inputs: []*plan.Node{from.n}})
	n.Keyed = true
	n.Input, n.Implied = &plan.Input{Partitions: r.Partitions}, implied
	value := defaultCodec(t, n, vals)
	n.Detail = "key " + keys.Name() + ", value " + value.Name()
	out := &keyedNode[K, V]{n: n}
	var parcels sync.Pool // that were read, for all tasks
	from.subs = append(from.subs, func(b *compiler) task.KeyedFn[K, V] {
		topic := b.env.Topic(n)
		lane := operator.Lane{Op: b.op(n), Topic: topic, Partitions: b.env.Partitions(topic), Direct: b.direct[n]}
		clock := b.clockBehind(from.n)
		var hand *operator.Sender[K, V] // nil: through the topic
		if b.env.Memory() {
			hand = operator.NewSender(b.task, lane, keys, value, &parcels)
		}
		if n.Input.Gathers != nil && n.Input.Gathers() && !b.semantics.kafka {
			process, gather := out.gather(b, lane, hand, clock)
			b.task.AddCarry(topic, clock, b.env.Memory(), gather)
			return process
		}
		b.task.AddCarry(topic, clock, b.env.Memory(), nil)
		nulls := int32(-1)
		if b.semantics.kafka && !n.Input.Nulls {
			nulls = b.task.AddOperator(n.Name+"-nulls", n.Site)
		}
		return operator.Repartition(lane, hand, nulls, keys, value)
	})
	t.roots[n] = func(b *compiler, p *task.Port) {
		next := out.compile(b)
		gathered, _ := b.gathered[n].(func(*task.Ctx, K, []byte))
		operator.KeyedSource(p, operator.Reader{Op: b.reader(n), EventTime: true}, keys, value, gathered, next)
	}
	return out, value
}

// partitioned is the stream that an operator with state of this name reads: behind a repartition if one is needed.
func (s Keyed[K, V]) partitioned(store string) Keyed[K, V] { return s.partitionedAs(store, store) }

// partitionedAs is the same with a name for the repartition.
func (s Keyed[K, V]) partitionedAs(name, store string) Keyed[K, V] {
	if s.exchange == nil {
		return s
	}
	if x := s.exchange; x.made != nil {
		if !x.named {
			s.t.graph.Errorf(s.node.n, "it feeds the stores %q and %q: name the repartition that they share, with Repartition", x.first, store)
		}
		return *x.made
	}
	return s.repartition(name, Repartitioning{}, "store "+store, nil)
}

// To writes the stream with its keys.
func (s Keyed[K, V]) To(d sink.Sink[V]) {
	n := s.add(plan.Sink, d.Spec.Name, d.Spec.System, typeName[V]())
	n.System, n.Topics = d.Spec.System, []string{d.Spec.Name}
	s.t.refused(n, d.Spec)
	s.t.ends = append(s.t.ends, engine.End{Topic: d.Spec.Name, Value: d.Value})
	if d.Value == nil {
		s.t.graph.Errorf(n, "it has no codec: name one, for example codec.JSON[%s]()", typeName[V]())
	}
	s.sub(func(b *compiler) task.KeyedFn[K, V] {
		return s.withKey(b, n, operator.Unkeyed[K](operator.Sink(b.op(n), b.env.Destination(d.Spec), d)))
	})
}

// withKey makes the typed key the record's key, where it is not yet: a record of a partitioned stream was read with it.
func (s Keyed[K, V]) withKey(b *compiler, n *plan.Node, next task.KeyedFn[K, V]) task.KeyedFn[K, V] {
	if s.exchange == nil {
		return next
	}
	return operator.WithKey(b.op(n), s.keys, next)
}

// Count counts the records of each key, in a store of this name.
// S is found by the compiler.
func (s Keyed[K, V]) Count[S ~string](store S) Table[K, int64] {
	return aggregate(s, "count", string(store), []codec.Codec[int64]{codec.Int64}, func(a *int64, _ V, _ bool) { *a++ }, false)
}

// Reduce keeps the first value of each key, then f of what it has and each further one.
// S is found by the compiler.
func (s Keyed[K, V]) Reduce[S ~string](store S, f func(sum, v V) V, state ...codec.Codec[V]) Table[K, V] {
	if len(state) == 0 && s.vals != nil {
		state = []codec.Codec[V]{s.vals}
	}
	return aggregate(s, "reduce", string(store), state, reduce(f), f == nil)
}

func reduce[V any](f func(sum, v V) V) operator.Update[V, V] {
	return func(a *V, v V, first bool) {
		if first {
			*a = v
		} else {
			*a = f(*a, v)
		}
	}
}

// Fold keeps an aggregate for each key: add changes it, starting from the zero value. The state is written with the
// codec given, or with the built-in one for its type, or as JSON.
func (s Keyed[K, V]) Fold[A any](store string, add func(*A, V), state ...codec.Codec[A]) Table[K, A] {
	return aggregate(s, "fold", store, state, func(a *A, v V, _ bool) { add(a, v) }, add == nil)
}

func aggregate[K comparable, V, A any](s Keyed[K, V], kind plan.Kind, store string, state []codec.Codec[A], update operator.Update[V, A], missing bool) Table[K, A] {
	s = s.partitioned(store)
	n := s.add(kind, store, "", typeName[K]()+" → "+typeName[A]())
	s.t.function(n, missing)
	vals := defaultCodec(s.t, n, state)
	out, old := stored(s.t, n, "table", s.keys, vals)
	out.rows = func(b *compiler) operator.Lookup[K, A] { return rowsOf[*operator.Aggregate[K, V, A], K, A](b, n) }
	s.sub(func(b *compiler) task.KeyedFn[K, V] {
		o := once(b, n, func() *operator.Aggregate[K, V, A] {
			return operator.NewAggregate(b.task, b.op(n), store, s.keys, vals, update, *old, b.semantics.kafka, out.changes(b))
		})
		if b.semantics.kafka {
			return operator.NoNulls(b.op(n), true, true, o.Process)
		}
		return o.Process
	})
	return out
}

// Window groups the records of each key into windows.
func (s Keyed[K, V]) Window(w window.Window) Windowed[K, V] { return Windowed[K, V]{s: s, w: w} }
