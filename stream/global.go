package stream

import (
	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/plan"
	engine "github.com/millstream-go/millstream/internal/runtime"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/source"
)

// GlobalTable is a table that each instance of the application has whole, in memory, so that streams are joined with it
// by any key, and without being repartitioned. It is for tables that are small and change rarely: currencies, countries,
// settings.
type GlobalTable[K comparable, V any] struct {
	t *Topology
	g *global
}

// global is a global table under construction.
type global struct {
	n    *plan.Node
	used bool
	// make makes the table of one application.
	make func() (engine.Global, any)
}

// GlobalTable reads a topic as a table in each instance: a record sets the row of its key, one with a null value deletes
// it. When the application starts, the topic is read whole, to its end as of then, before anything else is; after that
// it is followed, a fraction of a second behind, as other instances follow it for themselves. So what a record is joined
// with depends on when it is processed; for results that do not, see VersionedTable.
//
// The topic may have any number of partitions. It is read from its beginning at each start, so it should be compacted. It
// plays no part in event time. Records that are bad are skipped and logged, or with onerror.Fail end the application; it is
// read outside of transactions, so that it cannot have a dead-letter topic.
func (t *Topology) GlobalTable[K comparable, V any](src source.KeyedSource[K, V]) GlobalTable[K, V] {
	s := src.Spec
	g := &global{n: &plan.Node{Kind: "globaltable", Name: s.Name, Site: site()}}
	switch {
	case s.Name == "":
		t.graph.Errorf(g.n, "the topic has no name: give it one in the description of the source")
	case s.System == "":
		t.graph.Errorf(g.n, "it does not say which system it is on: make it with source.KafkaKeyed")
	case src.Key == nil || src.Value == nil:
		t.graph.Errorf(g.n, "it has no codec: name one, for example codec.JSON[%s]()", typeName[V]())
	case s.Range.Start != source.Earliest || len(s.Range.Positions) > 0 || s.Range.End != source.Never:
		t.graph.Errorf(g.n, "it is read whole: leave out where reading begins or ends")
	case s.OnError.Action == onerror.ActionDeadLetter || s.NoKey.Action == onerror.ActionDeadLetter:
		t.graph.Errorf(g.n, "it is read outside of transactions and cannot have a dead-letter topic: use onerror.Skip or onerror.Fail")
	case s.OnError.Retry != (onerror.Retry{}) || s.NoKey.Retry != (onerror.Retry{}):
		t.graph.Errorf(g.n, "its error policy tries a record again, which would hold up all that is looked up in it: leave out the Retry")
	case s.OnTombstone.Action != onerror.ActionSkip:
		t.graph.Errorf(g.n, "it is read as a table, in which a null value deletes a row: leave out OnTombstone")
	}
	g.n.System = s.System
	for _, o := range t.globals {
		if o.n.Name == s.Name && s.Name != "" {
			t.graph.Errorf(g.n, "topic %q is read as a global table at %s already: use that one", s.Name, o.n.Site)
		}
	}
	keys, vals := orJSON(src.Key), orJSON(src.Value)
	g.make = func() (engine.Global, any) {
		o := operator.NewGlobal(keys, vals, s)
		return engine.Global{Topic: s.Name, Opened: g.n.Site, Reset: o.Reset, Apply: o.Apply}, o
	}
	t.globals = append(t.globals, g)
	t.ends = append(t.ends, engine.End{Topic: s.Name, Source: true, Key: src.Key, Value: src.Value})
	return GlobalTable[K, V]{t, g}
}

// JoinGlobal joins each record with the row whose key is made of it, as the table is when the record is processed. One
// without a row, or for which key says that there is no key, makes nothing. The result has the record's time, key and
// headers; only records make results, changes of the table do not.
func (s Stream[V]) JoinGlobal[G comparable, W, O any](table GlobalTable[G, W], key func(V) (G, bool), f func(V, W) O) Stream[O] {
	return joinGlobal(s, "joinglobal", table, key, true, f == nil, inner(f))
}

// LeftJoinGlobal is JoinGlobal that makes a result also of a record without a row, with nil.
func (s Stream[V]) LeftJoinGlobal[G comparable, W, O any](table GlobalTable[G, W], key func(V) (G, bool), f func(V, *W) O) Stream[O] {
	return joinGlobal(s, "leftjoinglobal", table, key, false, f == nil, outer(f))
}

// JoinGlobal is Stream.JoinGlobal for a keyed stream; it is not repartitioned.
func (s Keyed[K, V]) JoinGlobal[G comparable, W, O any](table GlobalTable[G, W], key func(K, V) (G, bool), f func(V, W) O) Keyed[K, O] {
	return joinGlobalKeyed(s, "joinglobal", table, key, true, f == nil, inner(f))
}

// LeftJoinGlobal is Stream.LeftJoinGlobal for a keyed stream.
func (s Keyed[K, V]) LeftJoinGlobal[G comparable, W, O any](table GlobalTable[G, W], key func(K, V) (G, bool), f func(V, *W) O) Keyed[K, O] {
	return joinGlobalKeyed(s, "leftjoinglobal", table, key, false, f == nil, outer(f))
}

func inner[V, W, O any](f func(V, W) O) func(V, *W) (O, bool) {
	return func(v V, w *W) (o O, ok bool) {
		if w == nil {
			return o, false
		}
		return f(v, *w), true
	}
}

func outer[V, W, O any](f func(V, *W) O) func(V, *W) (O, bool) {
	return func(v V, w *W) (O, bool) { return f(v, w), true }
}

// looked notes that a stream looks rows up in a global table.
func (g *global) looked(t, of *Topology, n *plan.Node, missing bool) {
	t.function(n, missing)
	g.used = true
	n.Detail = "global table " + g.n.Name
	if t != of {
		t.graph.Errorf(n, "its other side is of another topology")
	}
}

func joinGlobal[V any, G comparable, W, O any](s Stream[V], kind plan.Kind, table GlobalTable[G, W], key func(V) (G, bool), inner, missing bool, f func(V, *W) (O, bool)) Stream[O] {
	n := &node[O]{n: s.t.graph.Add(&plan.Node{Kind: kind, Name: string(kind), Site: site(), Type: typeName[O](), Inputs: []*plan.Node{s.node.n}})}
	table.g.looked(s.t, table.t, n.n, missing || key == nil)
	s.node.subs = append(s.node.subs, func(b *compiler) task.Fn[V] {
		return operator.JoinGlobal(b.op(n.n), b.globals[table.g].(*operator.Global[G, W]), inner, key, f, n.compile(b))
	})
	return Stream[O]{t: s.t, node: n}
}

func joinGlobalKeyed[K comparable, V any, G comparable, W, O any](s Keyed[K, V], kind plan.Kind, table GlobalTable[G, W], key func(K, V) (G, bool), inner, missing bool, f func(V, *W) (O, bool)) Keyed[K, O] {
	out := after[K, V, O](s, kind, nil)
	table.g.looked(s.t, table.t, out.node.n, missing || key == nil)
	s.sub(func(b *compiler) task.KeyedFn[K, V] {
		join := operator.JoinGlobalKeyed(b.op(out.node.n), b.globals[table.g].(*operator.Global[G, W]), inner, key, f, out.node.compile(b))
		if b.semantics.kafka {
			return operator.NoNulls(b.op(out.node.n), false, true, join)
		}
		return join
	})
	return out
}

// checkGlobals notes global tables that nothing uses.
func (t *Topology) checkGlobals() (errs []error) {
	for _, g := range t.globals {
		if !g.used {
			errs = append(errs, plan.Errorf(g.n, "nothing uses it: join a stream with it, or remove it"))
		}
	}
	return errs
}
