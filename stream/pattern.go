package stream

import (
	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/plan"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/pattern"
)

// Detected is the stream of the results that Detect makes. TimedOut has the partial matches whose time was over, Late the
// records that came too late.
type Detected[K comparable, V, R any] struct {
	Keyed[K, R]
	timedOut     *[]func(*compiler) task.KeyedFn[K, pattern.Match[V]]
	late         *[]func(*compiler) task.KeyedFn[K, operator.LateRecord[V]]
	atWatermarks *bool
}

// Detect looks for a pattern in the records of each key, and makes a result of each match with f. Records wait, in a
// store of this name, until the watermark is past their time; then they are looked at in the order of their times,
// those with the same time as they were read. One that comes behind the watermark is late. The store also has the partial
// matches of each key: a pattern without a Within may keep them for ever.
//
// A result has the key, the time at which the match was certain, and no headers: the time of its last record; with
// NotFollowedBy at the end, the time at which nothing could follow any more; and where matches exclude each other, the
// time at which none that began earlier was left. The pattern's conditions are called when the watermark moves: a panic in
// one stops the application, because there is no record to give up on.
func (s Keyed[K, V]) Detect[R any](store string, p pattern.Pattern[V], f func(k K, m pattern.Match[V]) R) Detected[K, V, R] {
	s = s.partitioned(store)
	n := &keyedNode[K, R]{n: s.add("detect", store, p.String(), typeName[K]()+" → "+typeName[R]())}
	n.n.Keyed, n.n.Holds = true, true
	s.t.function(n.n, f == nil)
	errs := p.Check()
	for _, err := range errs {
		s.t.graph.Errorf(n.n, "%v", err)
	}
	vals := valueCodec(s.t, n.n, s.vals)
	n.n.Store = &plan.Store{Name: store, Kind: "pattern", Key: s.keys.Name(), Value: vals.Name(), Window: n.n.Detail, Evolves: true}
	out := Detected[K, V, R]{Keyed[K, R]{t: s.t, node: n, keys: s.keys}, new([]func(*compiler) task.KeyedFn[K, pattern.Match[V]]),
		new([]func(*compiler) task.KeyedFn[K, operator.LateRecord[V]]), new(bool)}
	s.sub(func(b *compiler) task.KeyedFn[K, V] {
		next := n.compile(b)
		spec := operator.DetectSpec[K, V]{Op: b.op(n.n), Store: store, Keys: s.keys, Vals: vals, Pattern: p, AtWatermarks: *out.atWatermarks,
			Found: func(c *task.Ctx, k K, m pattern.Match[V]) { next(c, k, f(k, m)) }, Late: lateFan(b, *out.late)}
		if len(*out.timedOut) > 0 {
			var list []task.KeyedFn[K, pattern.Match[V]]
			for _, sub := range *out.timedOut {
				list = append(list, sub(b))
			}
			spec.TimedOut = operator.FanKeyed(list)
		}
		return operator.NewDetect(b.task, b.clock(n.n), spec).Process
	})
	return out
}

// TimedOut makes a stream of the partial matches whose time was over before they were complete, with the time at which it
// was. Those of a pattern with alternatives can be the same more than once.
func (d Detected[K, V, R]) TimedOut[X any](f func(k K, m pattern.Match[V]) X) Stream[X] {
	n := &node[X]{n: d.t.graph.Add(&plan.Node{Kind: "timed out", Name: "timed out", Site: site(), Type: typeName[X](), Inputs: []*plan.Node{d.node.n}})}
	d.t.function(n.n, f == nil)
	*d.timedOut = append(*d.timedOut, func(b *compiler) task.KeyedFn[K, pattern.Match[V]] {
		return operator.Values(b.op(n.n), f, n.compile(b))
	})
	return Stream[X]{t: d.t, node: n}
}

// Late makes a stream of the records that came behind the watermark. They are counted whether or not it is used. The Span
// of a LateRecord is empty.
func (d Detected[K, V, R]) Late[X any](f func(k K, l LateRecord[V]) X) Stream[X] {
	n, sub := lateStream(d.t, d.node.n, LateForPattern, f)
	*d.late = append(*d.late, sub)
	return Stream[X]{t: d.t, node: n}
}

// AtWatermarks lets the time of a key pass as it does in Flink: to the time of each of its records, and then to the last
// millisecond before the watermark. A match that is found because time has passed is found there, and has that time;
// without it, it has the time that had to pass. So the times of such results depend on when the watermark moves, and are
// not the same each time the records are processed.
func (d Detected[K, V, R]) AtWatermarks() Detected[K, V, R] {
	*d.atWatermarks = true
	return d
}
