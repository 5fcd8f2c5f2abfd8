package stream

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/plan"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/stream/codec"
)

// Order is the order in which results of calls are handed on.
type Order uint8

// The orders.
const (
	// InOrder is the order of the records: a slow call holds up the results of those behind it.
	InOrder Order = iota
	// PerKey is the order of the records of each key. It is for keyed streams.
	PerKey
	// AnyOrder is the order in which calls return.
	AnyOrder
)

// Async is how a function is called for the records of a stream. The zero value calls it for up to 100 records at a time,
// waits for as long as it takes, tries once, and keeps the order.
type Async[V, R any] struct {
	// Order is the order of the results.
	Order Order
	// Capacity is for how many records of a task calls may be under way, or wait for their turn to be handed on. A task
	// that has as many reads no further record. A record that becomes several before it gets here can exceed it. The
	// default is 100.
	Capacity int
	// Timeout is how long one call may take; its context ends then, and it has failed with context.DeadlineExceeded.
	// Zero: for ever.
	Timeout time.Duration
	// Retry says how often a call that fails is made again. The default is not to. A panic is not tried again.
	Retry onerror.Retry
	// Failed, if there is one, makes the result for a record whose last call has failed, or fails itself. It must not
	// wait for anything: it runs in the task.
	Failed func(v V, err error) (R, error)
	// Codec writes the records that wait to the state. The default is the one that they were read with, or the built-in
	// one for their type, or JSON.
	Codec codec.Codec[V]
}

// Async replaces each value by what call returns for it, which may take its time: a request to a service, a model. Calls
// are made on goroutines of their own, for up to Capacity records of a task at a time; call must be safe for that, and
// must not change its value. It should return when its context ends: when its time is out, or when the task leaves this
// instance.
//
// Records that wait are kept in a store of this name, with their time, key and headers, which their results take over.
// After a crash they are called for again: a call is made at least once, its result is handed on exactly once. The
// watermark behind the operator does not overtake a record that waits.
//
// A record whose last call fails, and that Failed makes no result for, goes to the policy, with the error as its cause, as
// it was read from its source; without a policy, to its source's.
func (s Stream[V]) Async[R any](store string, call func(ctx context.Context, v V) (R, error), a Async[V, R], policy ...onerror.Policy) Stream[R] {
	n := &node[R]{n: s.add(plan.Async, "", typeName[R]())}
	spec := asyncSpec[struct{}](s.t, n.n, store, call, a, s.vals, policy)
	if a.Order == PerKey {
		s.t.graph.Errorf(n.n, "its order is PerKey, and its stream has no keys: call it after KeyBy, or use another order")
	}
	s.sub(func(b *compiler) task.Fn[V] {
		op, next := b.op(n.n), n.compile(b)
		spec := spec
		spec.Next = func(c *task.Ctx, _ struct{}, _ V, r R) {
			c.Pass(op)
			next(c, r)
		}
		o := newAsync(b, n.n, spec)
		return func(c *task.Ctx, v V) { o.Process(c, struct{}{}, v) }
	})
	return Stream[R]{t: s.t, node: n}
}

// Async is Stream.Async for a keyed stream. The keys stay, and nothing is re-keyed for it.
func (s Keyed[K, V]) Async[R any](store string, call func(ctx context.Context, v V) (R, error), a Async[V, R], policy ...onerror.Policy) Keyed[K, R] {
	out := after[K, V, R](s, plan.Async, nil)
	spec := asyncSpec[K](s.t, out.node.n, store, call, a, s.vals, policy)
	spec.Keys = s.keys
	out.node.n.Store.Key = s.keys.Name()
	s.sub(func(b *compiler) task.KeyedFn[K, V] {
		spec := spec
		op, next := b.op(out.node.n), out.node.compile(b)
		spec.Next = func(c *task.Ctx, k K, _ V, r R) {
			c.Pass(op)
			next(c, k, r)
		}
		return s.withKey(b, out.node.n, newAsync(b, out.node.n, spec).Process)
	})
	return out
}

func newAsync[K comparable, V, R any](b *compiler, n *plan.Node, spec operator.AsyncSpec[K, V, R]) *operator.Async[K, V, R] {
	return once(b, n, func() *operator.Async[K, V, R] {
		spec.Op = b.op(n)
		return operator.NewAsync(b.task, b.clock(n), b.hold(n), spec)
	})
}

// asyncSpec notes an Async, and the mistakes in it.
func asyncSpec[K comparable, V, R any](t *Topology, n *plan.Node, store string, call func(context.Context, V) (R, error), a Async[V, R], known codec.Codec[V], policy []onerror.Policy) operator.AsyncSpec[K, V, R] {
	n.Name = store
	t.function(n, call == nil)
	vals := a.Codec
	if vals == nil {
		vals = valueCodec(t, n, known)
	}
	def(&a.Capacity, 100)
	switch {
	case a.Capacity < 0:
		t.graph.Errorf(n, "its Capacity is %d: use at least 1, or 0 for 100", a.Capacity)
	case a.Timeout < 0:
		t.graph.Errorf(n, "its Timeout is %v: use a positive one, or 0 for none", a.Timeout)
	case a.Order > AnyOrder:
		t.graph.Errorf(n, "its Order is %d: use stream.InOrder, PerKey or AnyOrder", a.Order)
	}
	t.retry(n, a.Retry)
	n.Store = &plan.Store{Name: store, Kind: "calls", Value: vals.Name(), Evolves: true}
	n.Detail = a.describe()
	onBad := t.policy(n, policy)
	t.once(n, onBad, "use the Retry of the call, which lets others go on meanwhile")
	return operator.AsyncSpec[K, V, R]{Store: store, Vals: vals, Call: func(ctx context.Context, _ K, v V) (R, error) { return call(ctx, v) }, Failed: a.Failed, Order: int(a.Order), Capacity: a.Capacity,
		Timeout: a.Timeout, Retry: a.Retry, Policy: onBad}
}

func (a Async[V, R]) describe() string {
	parts := []string{[...]string{"in order", "in order of each key", "in any order"}[min(a.Order, AnyOrder)], fmt.Sprint("up to ", a.Capacity)}
	if a.Timeout > 0 {
		parts = append(parts, "timeout "+a.Timeout.String())
	}
	if a.Retry.Attempts > 1 {
		parts = append(parts, fmt.Sprint(a.Retry.Attempts, " attempts"))
	}
	return strings.Join(parts, ", ")
}

// retry notes what is wrong with a Retry.
func (t *Topology) retry(n *plan.Node, r onerror.Retry) {
	if r.Attempts < 0 || r.Backoff < 0 || r.MaxBackoff < 0 {
		t.graph.Errorf(n, "its Retry has a negative number: use positive ones, or 0 for the defaults")
	}
}

// refused notes the policy of a sink.
func (t *Topology) refused(n *plan.Node, s sink.Spec) {
	if s.OnError != nil {
		t.once(n, t.policy(n, []onerror.Policy{*s.OnError}), "it refuses a record again that it has refused: leave out the Retry")
	}
}

// again notes that records are tried again.
func (t *Topology) again(n *plan.Node, r onerror.Retry) {
	if t.retry(n, r); r.Attempts < 2 {
		t.graph.Errorf(n, "its Retry has %d attempts: use 2 or more, or leave it out", r.Attempts)
	}
	n.Retries = r.Attempts
}

// once notes that a policy must not try a record again, and why.
func (t *Topology) once(n *plan.Node, p *onerror.Policy, why string) {
	if p != nil && p.Retry != (onerror.Retry{}) {
		t.graph.Errorf(n, "its error policy tries a record again: %s", why)
	}
}

// policy notes the policy of an operator; nil is that of the record's source.
func (t *Topology) policy(n *plan.Node, named []onerror.Policy) *onerror.Policy {
	if len(named) == 0 {
		return nil
	}
	p := named[0]
	if p.Topic != "" {
		n.Topics = append(n.Topics, p.Topic)
	} else if p.Action == onerror.ActionDeadLetter {
		t.graph.Errorf(n, "the dead-letter topic has no name: give onerror.DeadLetter one")
	}
	return &p
}
