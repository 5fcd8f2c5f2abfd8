package stream

import (
	"time"

	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/plan"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

// Windowed is a keyed stream in windows, waiting for what to make of each.
type Windowed[K comparable, V any] struct {
	s Keyed[K, V]
	w window.Window
}

// Aggregated is one aggregate per key and window. What becomes of it is said by its methods, any number of them:
// OnUpdate, OnCommit and OnClose emit it, Late has the records that came too late for it.
//
// A window [start, end) takes records until the watermark reaches end + grace. A record is late when all windows that
// it belongs to have closed.
type Aggregated[K comparable, V, A any] struct {
	t    *Topology
	n    *plan.Node
	outs *outputs[K, V, A]
}

type outputs[K comparable, V, A any] struct {
	update, commit, close []func(*compiler) operator.WindowFn[K, A]
	late                  []func(*compiler) task.KeyedFn[K, operator.LateRecord[V]]
}

// Count counts the records of each key and window, in a store of this name.
func (w Windowed[K, V]) Count(store string) Aggregated[K, V, int64] {
	return windowed(w, "count", store, []codec.Codec[int64]{codec.Int64}, func(a *int64, _ V, _ bool) { *a++ }, false)
}

// Reduce keeps the first value of each key and window, then f of what it has and each further one.
func (w Windowed[K, V]) Reduce(store string, f func(sum, v V) V, state ...codec.Codec[V]) Aggregated[K, V, V] {
	if len(state) == 0 && w.s.vals != nil {
		state = []codec.Codec[V]{w.s.vals}
	}
	return windowed(w, "reduce", store, state, reduce(f), f == nil)
}

// Fold keeps an aggregate for each key and window: add changes it, starting from the zero value. The state is written
// with the codec given, or with the built-in one for its type, or as JSON. Records of a window are added in the order
// in which they are read, which is not that of their times.
func (w Windowed[K, V]) Fold[A any](store string, add func(*A, V), state ...codec.Codec[A]) Aggregated[K, V, A] {
	return windowed(w, "fold", store, state, func(a *A, v V, _ bool) { add(a, v) }, add == nil)
}

func windowed[K comparable, V, A any](w Windowed[K, V], kind plan.Kind, store string, state []codec.Codec[A], update operator.Update[V, A], missing bool) Aggregated[K, V, A] {
	s := w.s.partitioned(store)
	n := s.add(kind, store, "", typeName[K]()+" → "+typeName[A]())
	s.t.function(n, missing)
	vals := defaultCodec(s.t, n, state)
	n.Store = &plan.Store{Name: store, Kind: "window", Key: s.keys.Name(), Value: vals.Name()}
	out := Aggregated[K, V, A]{s.t, n, &outputs[K, V, A]{}}
	a, ok := w.w.(window.Aligned)
	if !ok {
		s.t.graph.Errorf(n, "%T is not a window that can be aggregated: use window.Tumbling or window.Hopping", w.w)
		return out
	}
	if err := a.Check(); err != nil {
		s.t.graph.Errorf(n, "window: %v", err)
		return out
	}
	n.Detail, n.Store.Window = a.String(), a.String()
	s.sub(func(b *compiler) task.KeyedFn[K, V] {
		spec := operator.WindowedSpec[K, V, A]{Op: b.op(n), Store: store, Keys: s.keys, Vals: vals, Window: a.Alignment(), Update: update,
			OnUpdate: fan(b, out.outs.update), OnCommit: fan(b, out.outs.commit), OnClose: fan(b, out.outs.close)}
		if len(out.outs.late) > 0 {
			var next []task.KeyedFn[K, operator.LateRecord[V]]
			for _, f := range out.outs.late {
				next = append(next, f(b))
			}
			spec.Late = operator.FanKeyed(next)
		}
		return operator.NewWindowed(b.task, b.clock(n), spec).Process
	})
	return out
}

func fan[K comparable, A any](b *compiler, subs []func(*compiler) operator.WindowFn[K, A]) operator.WindowFn[K, A] {
	var next []operator.WindowFn[K, A]
	for _, f := range subs {
		next = append(next, f(b))
	}
	switch len(next) {
	case 0:
		return nil
	case 1:
		return next[0]
	}
	return func(c *task.Ctx, k K, s window.Span, a A) {
		for _, f := range next {
			f(c, k, s, a)
		}
	}
}

func (a Aggregated[K, V, A]) emit[R any](kind plan.Kind, f func(K, window.Span, A) R) (*node[R], func(*compiler) operator.WindowFn[K, A]) {
	n := &node[R]{n: a.t.graph.Add(&plan.Node{Kind: kind, Name: string(kind), Site: site(), Type: typeName[R](), Inputs: []*plan.Node{a.n}})}
	a.t.function(n.n, f == nil)
	return n, func(b *compiler) operator.WindowFn[K, A] { return operator.Emit(b.op(n.n), f, n.compile(b)) }
}

// OnUpdate makes a stream of every change of every window's aggregate. The result's time is the largest event time
// among the records counted; Span.Revision numbers the changes of a key and window from 1.
func (a Aggregated[K, V, A]) OnUpdate[R any](f func(K, window.Span, A) R) Stream[R] {
	n, sub := a.emit("on update", f)
	a.outs.update = append(a.outs.update, sub)
	return Stream[R]{t: a.t, node: n}
}

// OnCommit makes a stream of the aggregates that have changed since the last epoch, once each, in no particular order.
// It is OnUpdate with the intermediate values left out; Span.Revision has gaps accordingly.
func (a Aggregated[K, V, A]) OnCommit[R any](f func(K, window.Span, A) R) Stream[R] {
	n, sub := a.emit("on commit", f)
	a.outs.commit = append(a.outs.commit, sub)
	return Stream[R]{t: a.t, node: n}
}

// OnClose makes a stream of the final aggregates: once for each key and window, when the watermark has passed its end
// and grace period, in the order of (end, key). The result's time is the last millisecond of the window.
func (a Aggregated[K, V, A]) OnClose[R any](f func(K, window.Span, A) R) Stream[R] {
	n, sub := a.emit("on close", f)
	a.outs.close = append(a.outs.close, sub)
	return Stream[R]{t: a.t, node: n}
}

// LateRecord is a record that came when all its windows had closed.
type LateRecord[V any] struct {
	Value     V
	Time      time.Time   // its event time
	Span      window.Span // the last of its windows
	Watermark time.Time   // that it was judged by: not before the end of Span plus grace
}

// Late makes a stream of the late records. They are counted whether or not it is used.
func (a Aggregated[K, V, A]) Late[R any](f func(K, LateRecord[V]) R) Stream[R] {
	n := &node[R]{n: a.t.graph.Add(&plan.Node{Kind: "late", Name: "late", Site: site(), Type: typeName[R](), Inputs: []*plan.Node{a.n}})}
	a.t.function(n.n, f == nil)
	a.outs.late = append(a.outs.late, func(b *compiler) task.KeyedFn[K, operator.LateRecord[V]] {
		g := func(k K, l operator.LateRecord[V]) R {
			return f(k, LateRecord[V]{Value: l.Value, Time: time.UnixMilli(l.Time).UTC(), Span: window.Span{From: l.From, To: l.To},
				Watermark: time.UnixMilli(l.Watermark).UTC()})
		}
		return operator.Values(b.op(n.n), g, n.compile(b))
	})
	return Stream[R]{t: a.t, node: n}
}
