package stream

import (
	"errors"
	"fmt"
	"time"

	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/plan"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

// Windowed is a keyed stream in windows, waiting for what to make of each.
type Windowed[K comparable, V any] struct {
	s       Keyed[K, V]
	w       window.Window
	trigger window.Trigger
}

// SessionBy is Window for sessions whose gap depends on the record: one that says that its user will be away for an
// hour keeps the session open for so long. The session of a record lasts from its time to the end of its gap; sessions
// that touch are merged. A record with a gap of less than a millisecond is a bad one. See window.Session for the rest.
func (s Keyed[K, V]) SessionBy(gap func(V) time.Duration, grace time.Duration) Windowed[K, V] {
	return Windowed[K, V]{s: s, w: sessionBy[V]{gap, grace}}
}

// sessionBy is a window.Session with a gap for each record.
type sessionBy[V any] struct {
	gap   func(V) time.Duration
	grace time.Duration
}

func (w sessionBy[V]) Check() error {
	if w.gap == nil {
		return errors.New("the function for the gap is nil: give it one, or use window.Session")
	}
	return window.Session{Gap: time.Hour, Grace: w.grace}.Check()
}

func (w sessionBy[V]) allowed() time.Duration { return w.grace }

func (w sessionBy[V]) String() string { return "session by record" }

// Aggregated is one aggregate per key and window. What becomes of it is said by its methods, any number of them:
// OnUpdate, OnCommit and OnClose emit it, Late has the records that came too late for it.
//
// A window [start, end) takes records until the watermark reaches end + grace. A record is late when all windows that
// it belongs to have closed.
type Aggregated[K comparable, V, A any] struct {
	t       *Topology
	n       *plan.Node
	w       window.Window
	trigger window.Trigger
	outs    *outputs[K, V, A]
}

type outputs[K comparable, V, A any] struct {
	update, commit, close, pace []func(*compiler) operator.WindowFn[K, A]
	every                       time.Duration // of pace
	fire                        []func(*compiler) operator.WindowFn[K, A]
	late                        []func(*compiler) task.KeyedFn[K, operator.LateRecord[V]]
}

// The compiler makes all methods of every type that a program has, called or not, unless they have type parameters. Of
// the operators behind them that would be minutes of it for a large program. So those methods that need no type
// parameter have one for their name: here, and in keyed streams and tables.

// Count counts the records of each key and window, in a store of this name. S is found by the compiler.
func (w Windowed[K, V]) Count[S ~string](store S) Aggregated[K, V, int64] {
	return windowed(w, "count", string(store), []codec.Codec[int64]{codec.Int64}, func(a *int64, _ V, _ bool) { *a++ }, func(a *int64, b int64) { *a += b }, true, false)
}

// Reduce keeps the first value of each key and window, then f of what it has and each further one.
// S is found by the compiler.
func (w Windowed[K, V]) Reduce[S ~string](store S, f func(sum, v V) V, state ...codec.Codec[V]) Aggregated[K, V, V] {
	if len(state) == 0 && w.s.vals != nil {
		state = []codec.Codec[V]{w.s.vals}
	}
	return windowed(w, "reduce", string(store), state, reduce(f), func(a *V, b V) { *a = f(*a, b) }, false, f == nil)
}

// Fold keeps an aggregate for each key and window: add changes it, starting from the zero value. The state is written
// with the codec given, or with the built-in one for its type, or as JSON. Records of a window are added in the order
// in which they are read, which is not that of their times.
func (w Windowed[K, V]) Fold[A any](store string, add func(*A, V), state ...codec.Codec[A]) Aggregated[K, V, A] {
	return windowed(w, "fold", store, state, func(a *A, v V, _ bool) { add(a, v) }, nil, false, add == nil)
}

// FoldMerge is Fold for aggregates that can be merged, which session windows need: merge(&a, b) adds to a what is in b,
// the aggregate of a later session of the key, so that a is what add would have made of all their records. It may take
// over what b refers to.
//
// Hopping windows of which only OnClose is used are merged from parts as long as Advance, if that divides Size and A has
// no pointers: a record is added to one part then, instead of to every window it is in. Windows behind a repartition are
// merged from what the tasks before it have added up, in no particular order, where that makes no other difference:
// docs/semantics.md says when.
func (w Windowed[K, V]) FoldMerge[A any](store string, add func(*A, V), merge func(a *A, b A), state ...codec.Codec[A]) Aggregated[K, V, A] {
	return windowed(w, "fold", store, state, func(a *A, v V, _ bool) { add(a, v) }, merge, true, add == nil || merge == nil)
}

// windowed adds a windowed aggregate. shares says that records may be merged by their times, instead of added as they come.
func windowed[K comparable, V, A any](w Windowed[K, V], kind plan.Kind, store string, state []codec.Codec[A], update operator.Update[V, A], merge func(*A, A), shares, missing bool) Aggregated[K, V, A] {
	s := w.s.partitioned(store)
	n := s.add(kind, store, "", typeName[K]()+" → "+typeName[A]())
	s.t.function(n, missing)
	vals := defaultCodec(s.t, n, state)
	n.Store = &plan.Store{Name: store, Kind: "window", Key: s.keys.Name(), Value: vals.Name(), Evolves: true}
	out := Aggregated[K, V, A]{s.t, n, w.w, w.trigger, &outputs[K, V, A]{}}
	build := keyWindow[K, V, A](w, merge)
	a, aligned := w.w.(window.Aligned)
	if w.trigger != (window.Trigger{}) {
		aligned = false
	}
	switch {
	case aligned:
	case build == nil:
		s.t.graph.Errorf(n, "%T is not a window that can be aggregated: use window.Tumbling, Hopping, Session or another kind of package window", w.w)
		return out
	default:
		n.Store.Kind = "windows by key"
	}
	if err := w.w.Check(); err != nil {
		s.t.graph.Errorf(n, "window: %v", err)
		return out
	}
	if _, _, ok := session[V](w.w); ok && merge == nil && !missing {
		s.t.graph.Errorf(n, "sessions are merged, and Fold does not say how their aggregates are: use FoldMerge, or Count or Reduce")
		return out
	}
	if err := w.checkTrigger(); err != nil {
		s.t.graph.Errorf(n, "window: %v", err)
		return out
	}
	if aligned && shares && !missing && operator.CanShare[A](a.Alignment()) {
		n.Store.Kind = panes
	}
	gathers := func() bool {
		if !shares || missing || w.trigger != (window.Trigger{}) || !operator.CanGather[A]() {
			return false
		}
		_, sessions := w.w.(window.Session)
		return sessions || aligned && (n.Store.Kind == panes || a.Alignment().Single())
	}
	if gathers() {
		gather(s, out, vals, w.w, update, gathers)
	}
	n.Detail, n.Store.Window = w.w.String(), w.w.String()
	if w.trigger != (window.Trigger{}) {
		n.Detail += ", " + w.trigger.String()
	}
	s.sub(func(b *compiler) task.KeyedFn[K, V] {
		var late task.KeyedFn[K, operator.LateRecord[V]]
		if len(out.outs.late) > 0 {
			var next []task.KeyedFn[K, operator.LateRecord[V]]
			for _, f := range out.outs.late {
				next = append(next, f(b))
			}
			late = operator.FanKeyed(next)
		}
		build := build
		if b.semantics.kafka {
			build = streamWindow(b, w.w, merge, build)
		}
		held := &operator.Held[K, V]{}
		add, lates := operator.AddHeld(held, update), held.Late(late)
		taken := func(operator.Taker[K]) {} // is told what takes several records as one
		if gathers() && !b.semantics.kafka {
			g := &operator.Gathered[A]{}
			add, lates = g.Add(add, merge), g.Late(lates)
			taken = func(by operator.Taker[K]) {
				b.gathered[s.node.n] = operator.FromGathered(b.op(n), g, vals, !aligned, by)
			}
		}
		if !aligned {
			process, take := build(b.task, b.clock(n), held, operator.KeyWindowSpec[K, A]{Op: b.op(n), Store: store, Keys: s.keys, Vals: vals, Update: add,
				OnUpdate: fan(b, out.outs.update), OnCommit: fan(b, out.outs.commit), OnClose: fan(b, out.outs.close),
				OnPace: fan(b, out.outs.pace), Every: out.outs.every.Milliseconds(), Late: lates,
				OnFire: fan(b, out.outs.fire), Trigger: operator.Trigger{Count: uint64(w.trigger.Count),
					Every: w.trigger.Every.Milliseconds(), End: w.trigger.End, Purge: w.trigger.Purge}})
			taken(take)
			return process
		}
		spec := operator.WindowedSpec[K, A]{Op: b.op(n), Store: store, Keys: s.keys, Vals: vals, Window: a.Alignment(), Update: add,
			OnUpdate: fan(b, out.outs.update), OnCommit: fan(b, out.outs.commit), OnClose: fan(b, out.outs.close),
			OnPace: fan(b, out.outs.pace), Every: out.outs.every.Milliseconds(), Late: lates}
		if b.semantics.kafka {
			return operator.NoNulls(b.op(n), true, false, held.Into(operator.NewStreamWindowed(b.task, b.streamTime(), spec).Process))
		}
		if n.Store.Kind == panes {
			spec.Merge = merge
			o := operator.NewPanes(b.task, b.clock(n), spec)
			taken(o.Take)
			return held.Into(o.Process)
		}
		o := operator.NewWindowed(b.task, b.clock(n), spec)
		taken(o.Take)
		return held.Into(o.Process)
	})
	return out
}

// gather lets the repartition that the aggregate reads, if there is one, carry aggregates instead of records, as long as
// nothing else reads it, and nothing is wanted that a single record decides.
func gather[K comparable, V, A any](s Keyed[K, V], out Aggregated[K, V, A], vals codec.Codec[A], w window.Window, update operator.Update[V, A], can func() bool) {
	at := s.node
	if at.n.Kind != plan.Repartition {
		return
	}
	at.n.Input.Gathers = func() bool {
		x := out.outs
		return can() && len(at.subs) == 1 && len(x.update) == 0 && len(x.pace) == 0 && len(x.late) == 0
	}
	at.gather = func(b *compiler, to operator.Lane, across *operator.Sender[K, V], clock *task.Clock) (task.KeyedFn[K, V], task.Gatherer) {
		held := &operator.Held[K, V]{}
		var hand operator.Hand[K]
		if across != nil {
			hand = across.Gathered
		}
		spec := operator.GatherSpec[K, A]{Aggregate: b.op(out.n), Keys: s.keys, Vals: vals, Update: operator.AddHeld(held, update)}
		if w, ok := w.(window.Session); ok {
			g := operator.NewGatherSessions(b.task, clock, to, hand, spec, w.Gap.Milliseconds(), w.Grace.Milliseconds())
			return held.Into(g.Process), g
		}
		spec.Window = w.(window.Aligned).Alignment()
		g := operator.NewGather(b.task, to, hand, spec)
		return held.Into(g.Process), g
	}
}

// panes is the kind of store of windows that overlap and share what they have in common. Windows of which more than the
// final results are wanted do not.
const panes = "panes"

// whole gives each window an aggregate of its own.
func (a Aggregated[K, V, A]) whole() {
	if s := a.n.Store; s != nil && s.Kind == panes {
		s.Kind = "window"
	}
}

// grace is how long after a window's end its last result may come.
func grace(w window.Window) time.Duration {
	switch w := w.(type) {
	case window.Aligned:
		return time.Duration(w.Alignment().Grace) * time.Millisecond
	case window.Session:
		return w.Grace
	case window.Sliding:
		return w.Grace
	case window.Trailing:
		return w.Grace
	case window.Count:
		return w.TTL
	case window.Global:
		return w.TTL
	case interface{ allowed() time.Duration }:
		return w.allowed()
	}
	return 0
}

// session returns the gap and the grace period of a session window.
func session[V any](w window.Window) (gap func(V) int64, grace time.Duration, ok bool) {
	switch w := w.(type) {
	case window.Session:
		return func(V) int64 { return w.Gap.Milliseconds() }, w.Grace, true
	case sessionBy[V]:
		return func(v V) int64 { return w.gap(v).Milliseconds() }, w.grace, true
	}
	return nil, 0, false
}

// keyWindow returns what makes the operator of a window that depends on the records of each key; nil for others.
func keyWindow[K comparable, V, A any](of Windowed[K, V], merge func(*A, A)) windowOperator[K, V, A] {
	type spec = operator.KeyWindowSpec[K, A]
	type values = *operator.Held[K, V]
	if gap, grace, ok := session[V](of.w); ok {
		return func(t *task.Task, clock *task.Clock, in values, s spec) (task.KeyedFn[K, V], operator.Taker[K]) {
			s.Grace = grace.Milliseconds()
			o := operator.NewSession(t, clock, s, in.Gap(gap), merge)
			return in.Into(o.Process), o.Take
		}
	}
	switch w := of.w.(type) {
	case window.Aligned:
		return func(t *task.Task, clock *task.Clock, in values, s spec) (task.KeyedFn[K, V], operator.Taker[K]) {
			a := w.Alignment()
			s.Grace = a.Grace
			return in.Into(operator.NewTriggered(t, clock, s, &a).Process), nil
		}
	case window.Global:
		return func(t *task.Task, clock *task.Clock, in values, s spec) (task.KeyedFn[K, V], operator.Taker[K]) {
			s.Grace = w.TTL.Milliseconds()
			return in.Into(operator.NewTriggered(t, clock, s, nil).Process), nil
		}
	case window.Sliding:
		return func(t *task.Task, clock *task.Clock, in values, s spec) (task.KeyedFn[K, V], operator.Taker[K]) {
			s.Grace = w.Grace.Milliseconds()
			return in.Into(operator.NewSliding(t, clock, s, w.Difference.Milliseconds()+1, false).Process), nil // its end is included
		}
	case window.Trailing:
		return func(t *task.Task, clock *task.Clock, in values, s spec) (task.KeyedFn[K, V], operator.Taker[K]) {
			s.Grace = w.Grace.Milliseconds()
			return in.Into(operator.NewSliding(t, clock, s, w.Size.Milliseconds(), true).Process), nil
		}
	case window.Count:
		return func(t *task.Task, clock *task.Clock, in values, s spec) (task.KeyedFn[K, V], operator.Taker[K]) {
			s.Grace = w.TTL.Milliseconds()
			return in.Into(operator.NewCount(t, clock, s, w.Size).Process), nil
		}
	}
	return nil
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
	a.whole()
	return Stream[R]{t: a.t, node: n}
}

// OnUpdateEvery makes a stream of the aggregates that have changed in each slice of event time, [n*every, (n+1)*every),
// once each: when the watermark reaches the end of the slice, in the order of (end, key), or when the window closes, if
// that is earlier. It is an early result at a steady pace: OnUpdate with the intermediate values left out, so that
// Span.Revision has gaps. The pace is that of event time, and the results the same in every run over the same records;
// for one of the wall clock there is OnCommit. Retracted sessions are emitted at once. An aggregate has one pace.
func (a Aggregated[K, V, A]) OnUpdateEvery[R any](every time.Duration, f func(K, window.Span, A) R) Stream[R] {
	n, sub := a.emit("on update every", f)
	n.n.Detail = every.String()
	switch {
	case every < time.Millisecond || every%time.Millisecond != 0:
		a.t.graph.Errorf(n.n, "the pace is %v: use whole milliseconds, at least one", every)
	case a.outs.every != 0 && a.outs.every != every:
		a.t.graph.Errorf(n.n, "the pace is %v, another OnUpdateEvery of the same aggregate has %v: use one for both", every, a.outs.every)
	default:
		a.outs.every = every
	}
	a.outs.pace = append(a.outs.pace, sub)
	a.whole()
	return Stream[R]{t: a.t, node: n}
}

// OnUpdateNth is OnUpdate for every nth change of a key and window: those whose Span.Revision is a multiple of n, and
// retractions.
func (a Aggregated[K, V, A]) OnUpdateNth[R any](n int, f func(K, window.Span, A) R) Stream[R] {
	out, sub := a.emit("on update nth", f)
	if n < 1 {
		a.t.graph.Errorf(out.n, "n is %d: it must be at least 1", n)
		n = 1
	}
	out.n.Detail = fmt.Sprintf("n %d", n)
	a.whole()
	a.outs.update = append(a.outs.update, func(b *compiler) operator.WindowFn[K, A] {
		next := sub(b)
		return func(c *task.Ctx, k K, s window.Span, v A) {
			if s.Retracted || s.Revision%uint64(n) == 0 {
				next(c, k, s, v)
			}
		}
	})
	return Stream[R]{t: a.t, node: out}
}

// OnCommit makes a stream of the aggregates that have changed since the last epoch, once each, in no particular order.
// It is OnUpdate with the intermediate values left out; Span.Revision has gaps accordingly.
func (a Aggregated[K, V, A]) OnCommit[R any](f func(K, window.Span, A) R) Stream[R] {
	n, sub := a.emit("on commit", f)
	a.outs.commit = append(a.outs.commit, sub)
	a.whole()
	return Stream[R]{t: a.t, node: n}
}

// OnClose makes a stream of the final aggregates: once for each key and window, when the watermark has passed its end
// and grace period, in the order of (end, key). The result's time is the last millisecond of the window.
func (a Aggregated[K, V, A]) OnClose[R any](f func(K, window.Span, A) R) Stream[R] {
	n, sub := a.emit("on close", f)
	// A result comes when the grace period is over, with a time before it: for what follows, time is held back so far.
	n.n.Holds, n.n.Delay = true, grace(a.w).Milliseconds()
	a.outs.close = append(a.outs.close, sub)
	return Stream[R]{t: a.t, node: n}
}

// LateRecord is a record that came too late to count.
type LateRecord[V any] struct {
	Value     V
	Time      time.Time   // its event time
	Span      window.Span // the last of its windows, if it is late for windows
	Watermark time.Time   // that it was judged by; for windows not before the end of Span plus grace
	Reason    LateReason
}

// Behind is how far the record's event time lay behind the watermark.
func (l LateRecord[V]) Behind() time.Duration { return l.Watermark.Sub(l.Time) }

// LateReason is what was over when a late record came.
type LateReason string

// The reasons, by what the record was late for.
const (
	LateForWindow  LateReason = "all its windows had closed"                            // an aggregate in windows
	LateForJoin    LateReason = "it was further behind than the join's grace period"    // a join of streams
	LateForHistory LateReason = "it was further behind than the history of the table"   // a versioned table, and joins with it
	LateForHorizon LateReason = "it was further behind than ids are remembered"         // Deduplicate
	LateForPattern LateReason = "the records of its time had been shown to the pattern" // Detect
)

// Late makes a stream of the late records. They are counted whether or not it is used.
func (a Aggregated[K, V, A]) Late[R any](f func(K, LateRecord[V]) R) Stream[R] {
	n := &node[R]{n: a.t.graph.Add(&plan.Node{Kind: "late", Name: "late", Site: site(), Type: typeName[R](), Inputs: []*plan.Node{a.n}})}
	a.t.function(n.n, f == nil)
	a.outs.late = append(a.outs.late, func(b *compiler) task.KeyedFn[K, operator.LateRecord[V]] {
		g := func(k K, l operator.LateRecord[V]) R {
			return f(k, LateRecord[V]{Value: l.Value, Time: time.UnixMilli(l.Time).UTC(), Span: window.Span{From: l.From, To: l.To},
				Watermark: time.UnixMilli(l.Watermark).UTC(), Reason: LateForWindow})
		}
		return operator.Values(b.op(n.n), g, n.compile(b))
	})
	return Stream[R]{t: a.t, node: n}
}
