package stream

import (
	"time"

	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/plan"
	engine "github.com/millstream-go/millstream/internal/runtime"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream/codec"
)

// Table is one row for each key: the newest value of a topic (Topology.Table) or stream (ToTable), or an aggregate
// (Count, Reduce, Fold). It changes as records come, in the order in which they are read, whatever their times. Streams
// and other tables are joined with it; Changes, Updates, ToStream and To follow it.
//
// The time of a row is that of the record that made it, or the largest among those that did. Filter, MapValues and joins
// of tables keep nothing themselves.
type Table[K comparable, A any] struct {
	t    *Topology
	node *keyedNode[K, operator.Change[A]]
	keys codec.Codec[K]
	vals codec.Codec[A] // nil: not known
	rows func(*compiler) operator.Lookup[K, A]
	old  func() // asks for changes with the old rows
	src  *tableSource[A]
	// versions: it has the newest rows of a versioned table.
	versions bool
}

// tableSource is what a table that is read from a topic knows of it.
type tableSource[A any] struct {
	n  *plan.Node
	at func(A) int64
}

// Change is what has become of a row: Old is nil if it is new, New if it was deleted. The values must not be changed.
type Change[V any] struct{ Old, New *V }

// Table reads a topic as a table, kept in a store of this name: a record sets the row of its key, one with a null value
// deletes it. When the application starts, the topic is first read to its end as of then, before the streams that are
// joined with it; after that records are read in the order of their times, as far as those are at hand.
func (t *Topology) Table[K comparable, V any](src source.KeyedSource[K, V], store string) Table[K, V] {
	in := t.tableSource(src.Spec, typeName[K]()+" → "+typeName[V](), src.Value == nil || src.Key == nil)
	t.ends = append(t.ends, engine.End{Topic: src.Spec.Name, Source: true, Key: src.Key, Value: src.Value})
	keys, vals := orJSON(src.Key), orJSON(src.Value)
	n := t.graph.Add(&plan.Node{Kind: "table", Name: store, Site: site(), Type: in.Type, Keyed: true, Inputs: []*plan.Node{in}})
	out, _ := stored(t, n, "table", keys, vals)
	out.src = &tableSource[V]{n: in}
	out.rows = func(b *compiler) operator.Lookup[K, V] { return rowsOf[*operator.Upsert[K, V], K, V](b, n) }
	t.roots[in] = func(b *compiler, p *task.Port) {
		o := once(b, n, func() *operator.Upsert[K, V] {
			return operator.NewUpsert(b.task, b.op(n), store, keys, vals, b.semantics.kafka, out.changes(b))
		})
		operator.TableSource(p, reader(b, in), keys, vals, out.src.at, o.Put)
	}
	return out
}

func (t *Topology) tableSource(spec source.Spec, typ string, noCodec bool) *plan.Node {
	n := t.source(spec, typ, noCodec, true)
	n.Input.Table = true
	if spec.OnTombstone.Action != onerror.ActionSkip {
		t.graph.Errorf(n, "it is read as a table, in which a null value deletes a row: leave out OnTombstone")
	}
	if spec.Growth != source.GrowthStops {
		t.graph.Errorf(n, "it is read as a table, in which the last record of a key counts, and between a key's records of before and after a growth Kafka has no order: leave out OnGrowth")
	}
	return n
}

// ToTable keeps the newest value of each key, by arrival, in a store of this name.
// S is found by the compiler.
func (s Keyed[K, V]) ToTable[S ~string](name S, vals ...codec.Codec[V]) Table[K, V] {
	store := string(name)
	if len(vals) == 0 && s.vals != nil {
		vals = []codec.Codec[V]{s.vals}
	}
	s = s.partitioned(store)
	n := s.add("totable", store, "", typeName[K]()+" → "+typeName[V]())
	value := defaultCodec(s.t, n, vals)
	out, _ := stored(s.t, n, "table", s.keys, value)
	out.rows = func(b *compiler) operator.Lookup[K, V] { return rowsOf[*operator.Upsert[K, V], K, V](b, n) }
	s.sub(func(b *compiler) task.KeyedFn[K, V] {
		o := once(b, n, func() *operator.Upsert[K, V] {
			return operator.NewUpsert(b.task, b.op(n), n.Name, s.keys, value, b.semantics.kafka, out.changes(b))
		})
		if b.semantics.kafka {
			return operator.NoNulls(b.op(n), true, false, o.Process)
		}
		return o.Process
	})
	return out
}

// stored is a table with a store. old says that someone needs the old rows.
func stored[K comparable, A any](t *Topology, n *plan.Node, kind string, keys codec.Codec[K], vals codec.Codec[A]) (out Table[K, A], old *bool) {
	n.Store = &plan.Store{Name: n.Name, Kind: kind, Key: keys.Name(), Value: vals.Name(), Evolves: true}
	old = new(bool)
	return Table[K, A]{t: t, node: &keyedNode[K, operator.Change[A]]{n: n}, keys: keys, vals: vals, old: func() { *old = true }}, old
}

// changes is the chain that takes a table's changes; nil if nothing does.
func (s Table[K, A]) changes(b *compiler) task.KeyedFn[K, operator.Change[A]] {
	if len(s.node.subs) == 0 {
		return nil
	}
	return s.node.compile(b)
}

// rowsOf is the Lookup of a store. The operator is asked for late, when the whole chain stands: tables that are joined
// look each other up.
func rowsOf[O interface {
	Row(*task.Ctx, K) (*A, int64)
}, K comparable, A any](b *compiler, n *plan.Node) operator.Lookup[K, A] {
	var o O
	found := false
	return func(c *task.Ctx, k K) (*A, int64) {
		if !found {
			if o, found = b.made[n].(O); !found {
				return nil, 0 // it has fewer partitions
			}
		}
		return o.Row(c, k)
	}
}

// derived is a table that is made from this one without a store.
func derived[K comparable, A, B any](s Table[K, A], kind plan.Kind, detail string, vals codec.Codec[B], rows func(*compiler) operator.Lookup[K, B]) Table[K, B] {
	n := s.t.graph.Add(&plan.Node{Kind: kind, Name: string(kind), Site: site(), Detail: detail, Type: typeName[K]() + " → " + typeName[B](), Keyed: true, Inputs: []*plan.Node{s.node.n}})
	return Table[K, B]{t: s.t, node: &keyedNode[K, operator.Change[B]]{n: n}, keys: s.keys, vals: vals, rows: rows, old: s.old, versions: s.versions}
}

func (s Table[K, A]) sub(f func(*compiler) task.KeyedFn[K, operator.Change[A]]) {
	s.node.subs = append(s.node.subs, f)
}

// EventTime takes the time of a row from its value, for a table that is read from a topic, and says how watermarks are
// made; see Stream.EventTime. A deletion has the time that the broker recorded.
func (s Table[K, A]) EventTime(at func(A) time.Time, w Watermark) Table[K, A] {
	s.t.function(s.node.n, at == nil)
	if s.Watermark(w); s.src != nil && at != nil {
		s.src.at = func(v A) int64 { return at(v).UnixMilli() }
	}
	return s
}

// Watermark says how watermarks are made from the times that the broker recorded, for a table that is read from a topic.
func (s Table[K, A]) Watermark(w Watermark) Table[K, A] {
	if s.src == nil {
		s.t.graph.Errorf(s.node.n, "event time is set where a table is read, right behind Table, or on the stream it is made from")
		return s
	}
	s.t.watermark(s.node.n, w)
	return s
}

// Filter keeps the rows for which keep is true. A row that is not kept any more is deleted.
func (s Table[K, A]) Filter(keep func(K, A) bool) Table[K, A] {
	s.old()
	out := derived(s, "filter", "", s.vals, func(b *compiler) operator.Lookup[K, A] { return operator.FilteredLookup(keep, s.rows(b)) })
	s.t.function(out.node.n, keep == nil)
	s.sub(func(b *compiler) task.KeyedFn[K, operator.Change[A]] {
		return operator.FilterRows(b.op(out.node.n), keep, b.semantics.kafka && s.versions, out.node.compile(b))
	})
	return out
}

// MapValues replaces each row's value by f of it and its key. f must give the same for the same.
func (s Table[K, A]) MapValues[B any](f func(K, A) B) Table[K, B] {
	out := derived(s, "mapvalues", "", nil, func(b *compiler) operator.Lookup[K, B] { return operator.MappedLookup(f, s.rows(b)) })
	s.t.function(out.node.n, f == nil)
	s.sub(func(b *compiler) task.KeyedFn[K, operator.Change[A]] {
		return operator.MapRows(b.op(out.node.n), f, out.node.compile(b))
	})
	return out
}

// Changes makes a stream of the new values, in order for each key; deletions are left out. A change's time is that of
// the row.
func (s Table[K, A]) Changes[R any](f func(K, A) R) Stream[R] {
	n := s.end("changes", typeName[R]())
	out := &node[R]{n: n}
	s.t.function(n, f == nil)
	s.sub(func(b *compiler) task.KeyedFn[K, operator.Change[A]] {
		return operator.RowValues(b.op(n), operator.Values(b.op(n), f, out.compile(b)))
	})
	return Stream[R]{t: s.t, node: out}
}

// Updates makes a stream of the changes with old and new value, deletions included, in order for each key. The values
// are good during the call of f.
func (s Table[K, A]) Updates[R any](f func(K, Change[A]) R) Stream[R] {
	s.old()
	n := s.end("updates", typeName[R]())
	out := &node[R]{n: n}
	s.t.function(n, f == nil)
	s.sub(func(b *compiler) task.KeyedFn[K, operator.Change[A]] {
		return operator.Values(b.op(n), func(k K, ch operator.Change[A]) R { return f(k, Change[A](ch)) }, out.compile(b))
	})
	return Stream[R]{t: s.t, node: out}
}

// ToStream makes a keyed stream of the new values. Deletions are left out, unless the values have a null of their own
// (see codec.Nullable), which then stands for them. It needs no repartition.
func (s Table[K, A]) ToStream() Keyed[K, A] {
	n := s.end("tostream", typeName[K]()+" → "+typeName[A]())
	n.Keyed = true
	out := Keyed[K, A]{t: s.t, node: &keyedNode[K, A]{n: n}, keys: s.keys, vals: s.vals}
	s.sub(func(b *compiler) task.KeyedFn[K, operator.Change[A]] {
		return operator.RowValues(b.op(n), operator.PeekKeyed(b.op(n), func(K, A) {}, out.node.compile(b)))
	})
	return out
}

// To writes the table's changes with their keys, to a topic that is compacted as a rule: the new value, or null for a
// row that is deleted.
func (s Table[K, A]) To(d sink.Sink[A]) {
	s.old()
	n := s.t.graph.Add(&plan.Node{Kind: plan.Sink, Name: d.Spec.Name, Site: site(), Detail: d.Spec.System, Type: typeName[A](), Inputs: []*plan.Node{s.node.n},
		System: d.Spec.System, Topics: []string{d.Spec.Name}})
	s.t.refused(n, d.Spec)
	s.t.ends = append(s.t.ends, engine.End{Topic: d.Spec.Name, Value: d.Value})
	switch {
	case d.Value == nil:
		s.t.graph.Errorf(n, "it has no codec: name one, for example codec.JSON[%s]()", typeName[A]())
	case d.Key != nil || d.Route != nil || d.Spec.RoundRobin:
		s.t.graph.Errorf(n, "a deletion has no value to make a key or a partition from: leave out Keyed, Partitioned and RoundRobin, or write Updates")
	}
	s.sub(func(b *compiler) task.KeyedFn[K, operator.Change[A]] {
		return operator.TableSink(b.op(n), b.env.Destination(d.Spec), d, s.keys)
	})
}

func (s Table[K, A]) end(kind plan.Kind, typ string) *plan.Node {
	return s.t.graph.Add(&plan.Node{Kind: kind, Name: string(kind), Site: site(), Type: typ, Inputs: []*plan.Node{s.node.n}})
}
