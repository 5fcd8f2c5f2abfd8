package stream

import (
	"fmt"

	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

// Trigger says when the windows fire, for OnFire. Unless it purges, it changes nothing for the other results of the
// windows: all may be used together. Aligned windows, sessions and global windows can have a trigger; one replaces
// another. Their state is laid out by key, so that a trigger cannot be given to windows that have state without one.
func (w Windowed[K, V]) Trigger(t window.Trigger) Windowed[K, V] {
	w.trigger = t
	return w
}

// checkTrigger returns what is wrong with the trigger, or with having none.
func (w Windowed[K, V]) checkTrigger() error {
	if w.trigger == (window.Trigger{}) {
		if _, global := w.w.(window.Global); global {
			return fmt.Errorf("a global window never ends, so that it needs a Trigger that says when it has results")
		}
		return nil
	}
	switch w.w.(type) {
	case window.Sliding, window.Trailing, window.Count:
		return fmt.Errorf("%v windows cannot have a Trigger: use OnUpdate, OnUpdateEvery or OnClose", w.w)
	case window.Global:
		if w.trigger.End {
			return fmt.Errorf("a global window has no end to fire at: use another condition of the Trigger")
		}
	}
	return w.trigger.Check()
}

// Collect keeps the last n records of each key and window, in the order in which they are read (of sessions that are
// merged, in the order of the sessions); all of them with n 0.
// S is found by the compiler.
func (w Windowed[K, V]) Collect[S ~string](store S, n int, state ...codec.Codec[[]V]) Aggregated[K, V, []V] {
	keep := func(list []V) []V {
		if n > 0 && len(list) > n {
			return append([]V(nil), list[len(list)-n:]...)
		}
		return list
	}
	out := windowed(w, "collect", string(store), state, func(a *[]V, v V, _ bool) { *a = keep(append(*a, v)) },
		func(a *[]V, b []V) { *a = keep(append(*a, b...)) }, false, false)
	if n < 0 {
		out.t.graph.Errorf(out.n, "n is %d: it must be at least 1, or 0 to keep all records", n)
	}
	return out
}

// OnFire makes a stream of the results of windows that fire, as their Trigger says. The result's time is the last
// millisecond of the window (of a global window: that of the largest of its records, or what Trigger.Every fires at);
// those that are due at the same time come in the order of (what they fire at, key). A result may be the same as the
// one before, with the same Span.Revision.
//
// A session that was emitted and has become part of one that starts elsewhere is Retracted.
func (a Aggregated[K, V, A]) OnFire[R any](f func(K, window.Span, A) R) Stream[R] {
	n, sub := a.emit("on fire", f)
	if a.trigger == (window.Trigger{}) {
		a.t.graph.Errorf(n.n, "the window has no Trigger, so that it never fires: give it one before it is aggregated")
	}
	n.n.Detail = a.trigger.String()
	if _, global := a.w.(window.Global); !global {
		// A result may come until the window closes, with a time within it.
		n.n.Holds, n.n.Delay = true, grace(a.w).Milliseconds()
	}
	a.outs.fire = append(a.outs.fire, sub)
	return Stream[R]{t: a.t, node: n}
}
