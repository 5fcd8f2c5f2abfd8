package stream

import (
	"context"
	"fmt"
	"time"

	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/plan"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/onerror"
)

// Lookup is how what belongs to a key is looked up outside of the application: in a database, a cache, a service.
type Lookup[K comparable, T any] struct {
	// Find returns what belongs to a key; ok is false if there is nothing. It is called like the function of an Async,
	// and must be safe for concurrent use.
	Find func(ctx context.Context, k K) (t T, ok bool, err error)
	// TTL is how long what was found is good, by the wall clock. Zero: for the records only that came while it was
	// looked up.
	TTL time.Duration
	// MissTTL is the same of keys for which nothing was found. The default is TTL.
	MissTTL time.Duration
	// Size is how many keys' values a task keeps; those go first that were not used for the longest time. The default is
	// 10,000.
	Size int
	// Order, Capacity, Timeout and Retry are those of an Async.
	Order    Order
	Capacity int
	Timeout  time.Duration
	Retry    onerror.Retry
}

// JoinLookup joins each record with what is looked up for its key; records for whose keys nothing is found are dropped,
// and counted as skipped. The records of a key that come while it is looked up share one call, and so do those that come
// as long as its answer is good.
//
// The rules of Async hold: records that wait are kept in a store of this name, a look-up may be made more often than its
// result is used, and a record whose look-up fails goes to the policy, without one to its source's. What was found is kept
// in memory, by each task for itself; it is a value of the time of the call, not of the record, and another one may be
// found when the record is read again.
func (s Keyed[K, V]) JoinLookup[T, O any](store string, l Lookup[K, T], f func(V, T) O, policy ...onerror.Policy) Keyed[K, O] {
	return lookup(s, "joinlookup", store, l, f == nil, func(v V, t *T) (o O, ok bool) {
		if t == nil {
			return o, false
		}
		return f(v, *t), true
	}, policy)
}

// LeftJoinLookup is JoinLookup that keeps records for whose keys nothing is found: f gets nil.
func (s Keyed[K, V]) LeftJoinLookup[T, O any](store string, l Lookup[K, T], f func(V, *T) O, policy ...onerror.Policy) Keyed[K, O] {
	return lookup(s, "leftjoinlookup", store, l, f == nil, func(v V, t *T) (O, bool) { return f(v, t), true }, policy)
}

func lookup[K comparable, V, T, O any](s Keyed[K, V], what, store string, l Lookup[K, T], missing bool, f func(V, *T) (O, bool), policy []onerror.Policy) Keyed[K, O] {
	out := after[K, V, O](s, plan.Async, nil)
	n := out.node.n
	find := l.Find
	call := func(context.Context, V) (*T, error) { return nil, nil }
	if find == nil {
		call = nil
	}
	spec := asyncSpec[K](s.t, n, store, call, Async[V, *T]{Order: l.Order, Capacity: l.Capacity, Timeout: l.Timeout, Retry: l.Retry}, s.vals, policy)
	if find != nil {
		s.t.function(n, missing)
	}
	if l.TTL < 0 || l.MissTTL < 0 || l.Size < 0 {
		s.t.graph.Errorf(n, "its TTL, MissTTL or Size is negative: use positive ones, or 0 for the defaults")
	}
	def(&l.MissTTL, l.TTL)
	def(&l.Size, 10_000)
	spec.Call = func(ctx context.Context, k K, _ V) (*T, error) {
		t, ok, err := find(ctx, k)
		if err != nil || !ok {
			return nil, err
		}
		return &t, nil
	}
	spec.Answers = &operator.Answers{TTL: l.TTL.Milliseconds(), MissTTL: l.MissTTL.Milliseconds(), Size: l.Size}
	spec.Miss = func(t *T) bool { return t == nil }
	spec.Keys = s.keys
	n.Store.Key = s.keys.Name()
	n.Detail = fmt.Sprintf("%s, ttl %v, %d keys, %s", what, l.TTL, l.Size, n.Detail)
	s.sub(func(b *compiler) task.KeyedFn[K, V] {
		spec := spec
		op, next := b.op(n), out.node.compile(b)
		spec.Next = func(c *task.Ctx, k K, v V, t *T) {
			o, ok := f(v, t)
			if !ok {
				c.Skip(op)
				return
			}
			c.Pass(op)
			next(c, k, o)
		}
		return s.withKey(b, n, newAsync(b, n, spec).Process)
	})
	return out
}
