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
	vals    codec.Codec[V]
	latest  *latest[K, V]
	late    *[]func(*compiler) task.KeyedFn[K, operator.LateRecord[*V]]
}

// latest is the table of a versioned table's newest versions, if it is asked for.
type latest[K comparable, V any] struct{ table *Table[K, V] }

// VersionedTable reads a topic as a table with versions, kept in a store of this name. A record is the version of its
// key's row from its own time on, until the time of the next; a null value means that there is no row. Records may come
// in any order: a later one with the same time replaces the earlier. Versions are kept until they are no more than
// history behind the watermark of the table and all streams that are joined with it; a record that comes later than that
// is late, counted, and offered by Late.
//
// The topic is read at start as that of Topology.Table is.
func (t *Topology) VersionedTable[K comparable, V any](src source.KeyedSource[K, V], store string, history time.Duration) VersionedTable[K, V] {
	in := t.tableSource(src.Spec, typeName[K]()+" → "+typeName[V](), src.Value == nil || src.Key == nil)
	t.ends = append(t.ends, engine.End{Topic: src.Spec.Name, Source: true, Key: src.Key, Value: src.Value})
	keys, vals := orJSON(src.Key), orJSON(src.Value)
	n := t.graph.Add(&plan.Node{Kind: "versionedtable", Name: store, Site: site(), Detail: "history " + history.String(), Type: in.Type, Keyed: true, Inputs: []*plan.Node{in},
		Store: &plan.Store{Name: store, Kind: "versions", Key: keys.Name(), Value: vals.Name(), Evolves: true}})
	if history < 0 || history%time.Millisecond != 0 {
		t.graph.Errorf(n, "its history is %v: use 0 or more, in whole milliseconds", history)
	}
	out := VersionedTable[K, V]{t, n, keys, &tableSource[V]{n: in}, history, new([]*plan.Node), vals, &latest[K, V]{}, new([]func(*compiler) task.KeyedFn[K, operator.LateRecord[*V]])}
	t.roots[in] = func(b *compiler, p *task.Port) {
		o := once(b, n, func() versions[K, V] {
			spec := operator.VersionsSpec[K, V]{Op: b.op(n), Store: store, Keys: keys, Vals: vals, History: history.Milliseconds(), Late: lateFan(b, *out.late)}
			var changes task.KeyedFn[K, operator.Change[V]]
			if out.latest.table != nil {
				changes = out.latest.table.changes(b)
			}
			if b.semantics.kafka {
				return operator.NewStreamVersions(b.task, spec, changes)
			}
			clock := b.clock(n)
			if len(*out.joins) > 0 {
				clock = b.clock(*out.joins...)
			}
			return operator.NewVersions(b.task, clock, spec, changes)
		})
		operator.TableSource(p, reader(b, in), keys, vals, out.src.at, o.Put)
	}
	return out
}

// versions is the operator of a versioned table.
type versions[K comparable, V any] interface {
	Put(c *task.Ctx, k K, v *V)
	AsOf(c *task.Ctx, k K, t int64) *V
	Newest(c *task.Ctx, k K) (*V, int64)
}

// Latest is the table of the rows' newest versions by time: a record that is older than its row's newest version does not
// change it.
func (s VersionedTable[K, V]) Latest() Table[K, V] {
	if s.latest.table == nil {
		n := s.t.graph.Add(&plan.Node{Kind: "latest", Name: "latest", Site: site(), Type: s.n.Type, Keyed: true, Inputs: []*plan.Node{s.n}})
		s.latest.table = &Table[K, V]{t: s.t, node: &keyedNode[K, operator.Change[V]]{n: n}, keys: s.keys, vals: s.vals, versions: true, old: func() {},
			rows: func(b *compiler) operator.Lookup[K, V] {
				return func(c *task.Ctx, k K) (*V, int64) {
					if o, ok := b.made[s.n].(versions[K, V]); ok {
						return o.Newest(c, k)
					}
					return nil, 0 // it has fewer partitions
				}
			}}
	}
	return *s.latest.table
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

// Late makes a stream of the versions that came too late to be one: more than the table's history behind the watermark. A
// nil value is a deletion. They are counted whether or not it is used. The Span of a LateRecord is empty.
func (s VersionedTable[K, V]) Late[X any](f func(K, LateRecord[*V]) X) Stream[X] {
	n, sub := lateStream(s.t, s.n, LateForHistory, f)
	*s.late = append(*s.late, sub)
	return Stream[X]{t: s.t, node: n}
}

// JoinAsOf joins each record with the row of its key as it was at the record's time; a record without one makes
// nothing. The result does not depend on which of the two was read first: a record waits, in a store of this name, until
// the watermark of stream and table is past its time. One that comes behind that watermark is joined at once; one that
// is behind it by more than the table's history is late.
//
// Results come in the order of (time, key), with the record's time and key, and without headers if it has waited. A
// stream that is not partitioned by its keys is repartitioned under this name, unless Repartition has named it.
func (s Keyed[K, V]) JoinAsOf[W, O any](name string, table VersionedTable[K, W], f func(V, W) O) AsOf[K, V, O] {
	return asOf(s, "joinasof", name, table, false, f == nil, func(v V, w *W) (o O, ok bool) {
		if w == nil {
			return o, false
		}
		return f(v, *w), true
	})
}

// LeftJoinAsOf is JoinAsOf that makes a result also of a record without a row, with nil.
func (s Keyed[K, V]) LeftJoinAsOf[W, O any](name string, table VersionedTable[K, W], f func(V, *W) O) AsOf[K, V, O] {
	return asOf(s, "leftjoinasof", name, table, true, f == nil, func(v V, w *W) (O, bool) { return f(v, copyOf(w)), true })
}

// AsOf is the stream that JoinAsOf makes. Late has the records that came too late for it.
type AsOf[K comparable, V, O any] struct {
	Keyed[K, O]
	late  *[]func(*compiler) task.KeyedFn[K, operator.LateRecord[V]]
	grace *time.Duration
}

func asOf[K comparable, V, W, O any](s Keyed[K, V], kind plan.Kind, name string, table VersionedTable[K, W], left, missing bool, f func(V, *W) (O, bool)) AsOf[K, V, O] {
	s = s.partitioned(name)
	s.wantsNulls(left)
	n := &keyedNode[K, O]{n: s.add(kind, name, "", typeName[K]()+" → "+typeName[O]())}
	n.n.Keyed, n.n.Aligned, n.n.Holds = true, true, true
	vals := valueCodec(s.t, n.n, s.vals)
	n.n.Store = &plan.Store{Name: name, Kind: "asof", Key: s.keys.Name(), Value: vals.Name(), Evolves: true}
	s.t.function(n.n, missing)
	s.t.sameKeys(n.n, table.t, s.keys.Name(), table.keys.Name())
	if table.t == s.t {
		n.n.Inputs = append(n.n.Inputs, table.n)
		*table.joins = append(*table.joins, n.n)
	}
	out := AsOf[K, V, O]{Keyed[K, O]{t: s.t, node: n, keys: s.keys}, new([]func(*compiler) task.KeyedFn[K, operator.LateRecord[V]]), new(time.Duration)}
	s.sub(func(b *compiler) task.KeyedFn[K, V] {
		next := n.compile(b)
		row := func(c *task.Ctx, k K, t int64) *W {
			if o, ok := b.made[table.n].(versions[K, W]); ok {
				return o.AsOf(c, k, t)
			}
			return nil
		}
		spec := operator.AsOfSpec[K, V, W]{Op: b.op(n.n), Store: name, Keys: s.keys, Vals: vals,
			History: table.history.Milliseconds(), Row: row, Late: lateFan(b, *out.late)}
		spec.Join = func(c *task.Ctx, k K, v V, w *W) {
			o, ok := f(v, w)
			if !ok {
				c.Filter(spec.Op)
				return
			}
			c.Pass(spec.Op)
			next(c, k, o)
		}
		if b.semantics.kafka {
			o := operator.NewStreamAsOf(b.task, spec, out.grace.Milliseconds())
			return operator.NoNulls(spec.Op, !left, true, o.Process)
		}
		return operator.NewAsOf(b.task, b.clock(n.n), spec).Process
	})
	return out
}

// Late makes a stream of the records that were more than the table's history behind the watermark. They are counted
// whether or not it is used. The Span of a LateRecord is empty.
func (a AsOf[K, V, O]) Late[X any](f func(K, LateRecord[V]) X) Stream[X] {
	n, sub := lateStream(a.t, a.node.n, LateForHistory, f)
	*a.late = append(*a.late, sub)
	return Stream[X]{t: a.t, node: n}
}

// Grace is how long records wait for versions that come out of order, under KafkaStreamsSemantics: until a record of the
// stream that is so much newer has come. Zero, the default, joins them at once. Otherwise it has no meaning: records wait
// for the watermark.
func (a AsOf[K, V, O]) Grace(d time.Duration) AsOf[K, V, O] {
	if d < 0 || d%time.Millisecond != 0 {
		a.t.graph.Errorf(a.node.n, "its grace period is %v: use 0 or more, in whole milliseconds", d)
	}
	*a.grace = d
	return a
}
