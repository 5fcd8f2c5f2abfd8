package stream

import (
	"time"

	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/plan"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// Deduplicated is a stream without its duplicates. Late has the records that came too late to be judged.
type Deduplicated[K comparable, V any] struct {
	Keyed[K, V]
	late *[]func(*compiler) task.KeyedFn[K, operator.LateRecord[V]]
}

// Deduplicate lets the first record of each key and id pass, in the order in which they are read, and drops those of
// the same key and id whose event times lie within the horizon of its own; they are counted. An id is remembered, in a
// store of this name, until the watermark is more than the horizon past its time. A record that is itself that late
// does not pass, because what it may repeat is forgotten.
//
// Ids are strings, integers, [16]byte, or derived from one.
func (s Keyed[K, V]) Deduplicate[ID comparable](store string, id func(V) ID, horizon time.Duration) Deduplicated[K, V] {
	s = s.partitioned(store)
	n := &keyedNode[K, V]{n: s.add("deduplicate", store, "horizon "+horizon.String(), typeName[K]()+" → "+typeName[V]())}
	n.n.Keyed = true
	s.t.function(n.n, id == nil)
	ids, err := codec.DefaultKey[ID]()
	switch {
	case err != nil:
		s.t.graph.Errorf(n.n, "its ids: %v", err)
		ids = codec.JSON[ID]()
	case horizon <= 0 || horizon%time.Millisecond != 0:
		s.t.graph.Errorf(n.n, "its horizon is %v: use at least 1ms, in whole milliseconds", horizon)
		horizon = time.Millisecond
	}
	n.n.Store = &plan.Store{Name: store, Kind: "seen", Key: s.keys.Name(), Value: ids.Name(), Window: n.n.Detail}
	out := Deduplicated[K, V]{Keyed[K, V]{t: s.t, node: n, keys: s.keys, vals: s.vals}, new([]func(*compiler) task.KeyedFn[K, operator.LateRecord[V]])}
	s.sub(func(b *compiler) task.KeyedFn[K, V] {
		next := n.compile(b)
		return operator.NewDedup(b.task, b.clock(n.n), operator.DedupSpec[K, ID, V]{Op: b.op(n.n), Store: store, Keys: s.keys, IDs: ids, ID: id,
			Horizon: horizon.Milliseconds(), Next: next, Late: lateFan(b, *out.late)}).Process
	})
	return out
}

// Late makes a stream of the records that were more than the horizon behind the watermark. They are counted whether or
// not it is used. The Span of a LateRecord is empty.
func (d Deduplicated[K, V]) Late[X any](f func(K, LateRecord[V]) X) Stream[X] {
	n, sub := lateStream(d.t, d.node.n, LateForHorizon, f)
	*d.late = append(*d.late, sub)
	return Stream[X]{t: d.t, node: n}
}
