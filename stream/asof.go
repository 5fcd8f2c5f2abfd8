package stream

import (
	"time"

	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/plan"
	engine "github.com/millstream-go/millstream/internal/runtime"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream/codec"
)

// VersionedTable is a table that knows what its rows were at earlier times. JoinAsOf joins a stream with it.
type VersionedTable[K comparable, V any] struct {
	t       *Topology
	n       *plan.Node
	keys    codec.Codec[K]
	src     *tableSource[V]
	history time.Duration
	joins   *[]*plan.Node
}

// VersionedTable reads a topic as a table with versions, kept in a store of this name. A record is the version of its
// key's row from its own time on, until the time of the next; a null value means that there is no row. Records may come
// in any order: a later one with the same time replaces the earlier. Versions are kept until they are no more than
// history behind the watermark of the table and all streams that are joined with it; a record that comes later than that
// is late, and counted.
//
// The topic is read at start as that of Topology.Table is.
func (t *Topology) VersionedTable[K comparable, V any](src source.KeyedSource[K, V], store string, history time.Duration) VersionedTable[K, V] {
	in := t.tableSource(src.Spec, typeName[K]()+" → "+typeName[V](), src.Value == nil || src.Key == nil)
	t.ends = append(t.ends, engine.End{Topic: src.Spec.Name, Source: true, Key: src.Key, Value: src.Value})
	keys, vals := orJSON(src.Key), orJSON(src.Value)
	n := t.graph.Add(&plan.Node{Kind: "versionedtable", Name: store, Site: site(), Detail: "history " + history.String(), Type: in.Type, Keyed: true, Inputs: []*plan.Node{in},
		Store: &plan.Store{Name: store, Kind: "versions", Key: keys.Name(), Value: vals.Name()}})
	if history < 0 || history%time.Millisecond != 0 {
		t.graph.Errorf(n, "its history is %v: use 0 or more, in whole milliseconds", history)
	}
	out := VersionedTable[K, V]{t, n, keys, &tableSource[V]{n: in}, history, new([]*plan.Node)}
	t.roots[in] = func(b *compiler, p *task.Port) {
		o := once(b, n, func() *operator.Versions[K, V] {
			clock := b.clock(n)
			if len(*out.joins) > 0 {
				clock = b.clock(*out.joins...)
			}
			return operator.NewVersions(b.task, clock, operator.VersionsSpec[K, V]{Op: b.op(n), Store: store, Keys: keys, Vals: vals, History: history.Milliseconds()})
		})
		operator.TableSource(p, reader(b, in), keys, vals, out.src.at, o.Put)
	}
	return out
}

// EventTime takes the time of a version from its value, and says how watermarks are made; see Stream.EventTime. A
// deletion has the time that the broker recorded.
func (s VersionedTable[K, V]) EventTime(at func(V) time.Time, w Watermark) VersionedTable[K, V] {
	s.t.function(s.n, at == nil)
	if at != nil {
		s.src.at = func(v V) int64 { return at(v).UnixMilli() }
	}
	return s.Watermark(w)
}

// Watermark says how watermarks are made from the times that the broker recorded. A table that changes rarely needs an
// Idle time, or the streams that are joined with it wait for it.
func (s VersionedTable[K, V]) Watermark(w Watermark) VersionedTable[K, V] {
	s.t.watermark(s.n, w)
	return s
}

// JoinAsOf joins each record with the row of its key as it was at the record's time; a record without one makes
// nothing. The result does not depend on which of the two was read first: a record waits, in a store of this name, until
// the watermark of stream and table is past its time. One that comes behind that watermark is joined at once; one that
// is behind it by more than the table's history is late.
//
// Results come in the order of (time, key), with the record's time and key, and without headers if it has waited. A
// stream that is not partitioned by its keys is repartitioned under this name, unless Repartition has named it.
func (s Keyed[K, V]) JoinAsOf[W, O any](name string, table VersionedTable[K, W], f func(V, W) O) AsOf[K, V, O] {
	return asOf(s, "joinasof", name, table, f == nil, func(v V, w *W) (o O, ok bool) {
		if w == nil {
			return o, false
		}
		return f(v, *w), true
	})
}

// LeftJoinAsOf is JoinAsOf that makes a result also of a record without a row, with nil.
func (s Keyed[K, V]) LeftJoinAsOf[W, O any](name string, table VersionedTable[K, W], f func(V, *W) O) AsOf[K, V, O] {
	return asOf(s, "leftjoinasof", name, table, f == nil, func(v V, w *W) (O, bool) { return f(v, copyOf(w)), true })
}

// AsOf is the stream that JoinAsOf makes. Late has the records that came too late for it.
type AsOf[K comparable, V, O any] struct {
	Keyed[K, O]
	late *[]func(*compiler) task.KeyedFn[K, operator.LateRecord[V]]
}

func asOf[K comparable, V, W, O any](s Keyed[K, V], kind plan.Kind, name string, table VersionedTable[K, W], missing bool, f func(V, *W) (O, bool)) AsOf[K, V, O] {
	s = s.partitioned(name)
	n := &keyedNode[K, O]{n: s.add(kind, name, "", typeName[K]()+" → "+typeName[O]())}
	n.n.Keyed, n.n.Aligned, n.n.Holds = true, true, true
	vals := valueCodec(s.t, n.n, s.vals)
	n.n.Store = &plan.Store{Name: name, Kind: "asof", Key: s.keys.Name(), Value: vals.Name()}
	s.t.function(n.n, missing)
	s.t.sameKeys(n.n, table.t, s.keys.Name(), table.keys.Name())
	if table.t == s.t {
		n.n.Inputs = append(n.n.Inputs, table.n)
		*table.joins = append(*table.joins, n.n)
	}
	out := AsOf[K, V, O]{Keyed[K, O]{t: s.t, node: n, keys: s.keys}, new([]func(*compiler) task.KeyedFn[K, operator.LateRecord[V]])}
	s.sub(func(b *compiler) task.KeyedFn[K, V] {
		next := n.compile(b)
		row := func(c *task.Ctx, k K, t int64) *W {
			if o, ok := b.made[table.n].(*operator.Versions[K, W]); ok {
				return o.AsOf(c, k, t)
			}
			return nil
		}
		return operator.NewAsOf(b.task, b.clock(n.n), operator.AsOfSpec[K, V, W]{Op: b.op(n.n), Store: name, Keys: s.keys, Vals: vals,
			History: table.history.Milliseconds(), Row: row, Late: lateFan(b, *out.late),
			Join: func(c *task.Ctx, k K, v V, w *W) {
				if o, ok := f(v, w); ok {
					next(c, k, o)
				}
			}}).Process
	})
	return out
}

// Late makes a stream of the records that were more than the table's history behind the watermark. They are counted
// whether or not it is used. The Span of a LateRecord is empty.
func (a AsOf[K, V, O]) Late[X any](f func(K, LateRecord[V]) X) Stream[X] {
	n, sub := lateStream(a.t, a.node.n, f)
	*a.late = append(*a.late, sub)
	return Stream[X]{t: a.t, node: n}
}
