package stream

import (
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/plan"
	engine "github.com/millstream-go/millstream/internal/runtime"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/stream/codec"
)

// Stream is a stream of values without a typed key. Operators on it have no state: what needs state comes after KeyBy.
//
// Every record has, beside its value, an event time, headers, and the bytes of the key that it was read with or last
// keyed by; stateless operators leave those as they are. Records of one partition keep their order through all
// operators; between partitions there is none. Values of more than about 100 bytes travel faster as pointers
// (Stream[*T]).
type Stream[V any] struct {
	t    *Topology
	node *node[V]
	vals codec.Codec[V] // of the source, as long as the type is the same
}

// add appends an operator.
func (s Stream[V]) add(kind plan.Kind, detail, typ string) *plan.Node {
	return s.t.graph.Add(&plan.Node{Kind: kind, Name: string(kind), Site: site(), Detail: detail, Type: typ, Inputs: []*plan.Node{s.node.n}})
}

func (s Stream[V]) sub(f func(*compiler) task.Fn[V]) { s.node.subs = append(s.node.subs, f) }

// Map replaces each value by f of it.
func (s Stream[V]) Map[W any](f func(V) W) Stream[W] {
	n := &node[W]{n: s.add("map", "", typeName[W]())}
	s.t.function(n.n, f == nil)
	s.sub(func(b *compiler) task.Fn[V] { return operator.Map(b.op(n.n), f, n.compile(b)) })
	return Stream[W]{t: s.t, node: n}
}

// MapWithID is Map with an id for each value, which is the same whenever the record that it comes from is read again: put into what is
// written where that may happen twice, it tells the copies (see Keyed.Deduplicate). An id is
// topic/partition/position/n: the record's topic, or stream, its partition, or the number of its shard, and its position
// there, as source.Position has it (an offset; of Kinesis the sequence number and the place in an aggregate, in hexadecimal words); n counts
// the values of the record that come to this operator, from 0. What lies before it must make the same values of the same record each time, so
// only operators without state may, and their functions must depend on nothing else.
func (s Stream[V]) MapWithID[W any](f func(id string, v V) W) Stream[W] {
	n := &node[W]{n: s.add("map with id", "", typeName[W]())}
	s.t.function(n.n, f == nil)
	if by := unstable(s.node.n); by != nil {
		s.t.graph.Errorf(n.n, "what comes from %s %q (%s) depends on more than the record that was read, so that its ids would not be the same the next time: put it before that, or make ids of keys and windows", by.Kind, by.Name, by.Site)
	}
	s.sub(func(b *compiler) task.Fn[V] { return operator.MapWithID(b.op(n.n), f, n.compile(b)) })
	return Stream[W]{t: s.t, node: n}
}

// recordByRecord are the kinds of operators whose results depend on the record at hand alone.
var recordByRecord = []plan.Kind{plan.Source, "map", "map with id", "mapvalues", "trymap", "filter", "flatmap", "flatmapvalues", "peek", "keyby", "split", "merge", "event time", "watermark"}

// unstable is an operator before a node, or the node itself, whose results depend on more; nil: there is none.
func unstable(n *plan.Node) *plan.Node {
	if !slices.Contains(recordByRecord, n.Kind) || n.Input != nil && n.Input.Table {
		return n
	}
	for _, in := range n.Inputs {
		if by := unstable(in); by != nil {
			return by
		}
	}
	return nil
}

// FlatMap replaces each value by those that f yields, which take over its time, key and headers.
func (s Stream[V]) FlatMap[W any](f func(V) iter.Seq[W]) Stream[W] {
	n := &node[W]{n: s.add("flatmap", "", typeName[W]())}
	s.t.function(n.n, f == nil)
	s.sub(func(b *compiler) task.Fn[V] { return operator.FlatMap(b.op(n.n), f, n.compile(b)) })
	return Stream[W]{t: s.t, node: n}
}

// Filter keeps the values for which keep is true.
func (s Stream[V]) Filter(keep func(V) bool) Stream[V] {
	n := &node[V]{n: s.add("filter", "", typeName[V]())}
	s.t.function(n.n, keep == nil)
	s.sub(func(b *compiler) task.Fn[V] { return operator.Filter(b.op(n.n), keep, n.compile(b)) })
	return Stream[V]{t: s.t, node: n, vals: s.vals}
}

// Peek calls f with each value and hands it on. A call may be repeated after a failure, and its effects are not part
// of the epoch.
func (s Stream[V]) Peek(f func(V)) Stream[V] {
	n := &node[V]{n: s.add("peek", "", typeName[V]())}
	s.t.function(n.n, f == nil)
	s.sub(func(b *compiler) task.Fn[V] { return operator.Peek(b.op(n.n), f, n.compile(b)) })
	return Stream[V]{t: s.t, node: n, vals: s.vals}
}

// TryMap replaces each value by f of it. A record for which f returns an error goes to the policy, with the error as
// its cause; without one, to its source's policy. It may be tried again before (onerror.Retry.Then), if no state lies
// before f or beside it.
func (s Stream[V]) TryMap[W any](f func(V) (W, error), policy ...onerror.Policy) Stream[W] {
	n := &node[W]{n: s.add("trymap", "", typeName[W]())}
	s.t.function(n.n, f == nil)
	p := s.t.policy(n.n, policy)
	if p != nil && p.Retry != (onerror.Retry{}) {
		s.t.again(n.n, p.Retry)
		n.n.Detail = fmt.Sprintf("%d attempts", p.Retry.Attempts)
	}
	s.sub(func(b *compiler) task.Fn[V] { return operator.TryMap(b.op(n.n), f, p, n.compile(b)) })
	return Stream[W]{t: s.t, node: n}
}

// Split hands each record to the first of its branches whose predicate is true, or else to the last one of the result,
// which has one stream more than there are predicates. Records of a last stream that nobody uses are counted as
// skipped.
func (s Stream[V]) Split(when ...func(V) bool) []Stream[V] {
	split := s.add("split", "", typeName[V]())
	s.t.function(split, slices.ContainsFunc(when, func(f func(V) bool) bool { return f == nil }))
	out := make([]Stream[V], len(when)+1)
	nodes := make([]*node[V], len(out))
	for i := range out {
		n := s.t.graph.Add(&plan.Node{Kind: "peek", Name: "branch", Site: split.Site, Type: typeName[V](), Inputs: []*plan.Node{split}})
		nodes[i] = &node[V]{n: n}
		out[i] = Stream[V]{t: s.t, node: nodes[i], vals: s.vals}
	}
	s.sub(func(b *compiler) task.Fn[V] {
		next := make([]task.Fn[V], len(when))
		for i := range next {
			next[i] = nodes[i].compile(b)
		}
		var rest task.Fn[V]
		if len(nodes[len(when)].subs) > 0 {
			rest = nodes[len(when)].compile(b)
		}
		return operator.Split(b.op(split), when, next, rest)
	})
	return out
}

// Merge is the union of streams. There is no order between them; its watermark is the smallest of theirs.
func (s Stream[V]) Merge(others ...Stream[V]) Stream[V] {
	n := &node[V]{n: s.add("merge", "", typeName[V]())}
	for _, o := range append([]Stream[V]{s}, others...) {
		if o.t != s.t {
			s.t.graph.Errorf(n.n, "a stream of another topology cannot be merged")
			continue
		}
		if o.node.n != s.node.n {
			n.n.Inputs = append(n.n.Inputs, o.node.n)
		}
		o.sub(func(b *compiler) task.Fn[V] { return n.compile(b) })
	}
	return Stream[V]{t: s.t, node: n, vals: s.vals}
}

// EventTime takes each record's time from its value, and says how watermarks are made from those times. Without it the
// time is the one that the broker recorded, and the watermark the largest of them. A time that lies further ahead of
// the wall clock than the source's MaxAhead makes the record a bad one.
func (s Stream[V]) EventTime(at func(V) time.Time, w Watermark) Stream[V] {
	n := &node[V]{n: s.add("event time", w.String(), typeName[V]())}
	s.t.function(n.n, at == nil)
	s.t.watermark(n.n, w)
	ms := func(v V) int64 { return at(v).UnixMilli() }
	s.sub(func(b *compiler) task.Fn[V] { return operator.EventTime(b.op(n.n), ms, n.compile(b)) })
	if root := s.t.roots[s.node.n]; root != nil {
		src, vals := s.node.n, s.vals
		s.t.roots[src] = func(b *compiler, p *task.Port) {
			operator.Source(p, reader(b, src), vals, ms, s.node.compile(b))
		}
	}
	return Stream[V]{t: s.t, node: n, vals: s.vals}
}

// Watermark says how watermarks are made from the times that the broker recorded.
func (s Stream[V]) Watermark(w Watermark) Stream[V] {
	n := &node[V]{n: s.add("watermark", w.String(), typeName[V]())}
	s.t.watermark(n.n, w)
	s.sub(func(b *compiler) task.Fn[V] { return n.compile(b) })
	return Stream[V]{t: s.t, node: n, vals: s.vals}
}

// KeyBy gives each record the key that key returns. Operators with state see all records of a key in one place, which
// takes a repartition; it is put in where such an operator follows, and named after it. K is a string, an integer, a
// [16]byte, or derived from one; use KeyByWith for others.
func (s Stream[V]) KeyBy[K comparable](key func(V) K) Keyed[K, V] {
	c, err := codec.DefaultKey[K]()
	k := s.KeyByWith(key, orJSON(c))
	if err != nil {
		s.t.graph.Errorf(k.node.n, "%v (KeyByWith takes one)", err)
	}
	return k
}

// KeyByWith is KeyBy with a codec for the keys. Equal keys must have equal bytes.
func (s Stream[V]) KeyByWith[K comparable](key func(V) K, keys codec.Codec[K]) Keyed[K, V] {
	n := &keyedNode[K, V]{n: s.add("keyby", "", typeName[K]()+" → "+typeName[V]())}
	n.n.Keyed = true
	s.t.function(n.n, key == nil)
	if keys == nil {
		s.t.graph.Errorf(n.n, "its key codec is nil: name one, for example codec.String")
		keys = orJSON(keys)
	}
	s.sub(func(b *compiler) task.Fn[V] { return operator.KeyBy(b.op(n.n), key, n.compile(b)) })
	return Keyed[K, V]{t: s.t, node: n, keys: keys, vals: s.vals, exchange: &exchange[K, V]{}}
}

// To writes the stream. Records that the destination would refuse, for their size or their time, go to their source's
// OnError policy.
func (s Stream[V]) To(d sink.Sink[V]) {
	n := s.add(plan.Sink, d.Spec.System, typeName[V]())
	n.Name, n.System, n.Topics = d.Spec.Name, d.Spec.System, []string{d.Spec.Name}
	s.t.refused(n, d.Spec)
	s.t.ends = append(s.t.ends, engine.End{Topic: d.Spec.Name, Value: d.Value})
	if d.Value == nil {
		s.t.graph.Errorf(n, "it has no codec: name one, for example codec.JSON[%s]()", typeName[V]())
	}
	s.sub(func(b *compiler) task.Fn[V] { return operator.Sink(b.op(n), b.env.Destination(d.Spec), d) })
}

// Via applies a function to the stream without breaking the chain. It is how operators are added that cannot be
// methods: those that need a constraint on V, or that wrap it (Stream[[]V]).
func (s Stream[V]) Via[W any](f func(Stream[V]) Stream[W]) Stream[W] { return f(s) }

// Via2 is Via for functions with an argument.
func (s Stream[V]) Via2[W, O any](f func(Stream[V], O) Stream[W], o O) Stream[W] { return f(s, o) }
