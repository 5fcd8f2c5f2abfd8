// Package operator has the operators, one idea to a file, as functions that wrap the next step of a compiled chain. A
// closure per operator and record, with the value passed by value, was the fastest of the shapes tried: about three
// nanoseconds an operator. Each calls Ctx.Enter before it calls a user's function, so that a failure names it, and books
// what becomes of the record before it hands it on (see task.Counts).
//
// The functions that make them are not inlined. Where they are, the compiler copies the closure as it was written, and what is
// called in it, such as Enter, stays a call: that took a nanosecond more for each operator and record.
package operator

import (
	"fmt"
	"iter"

	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/onerror"
)

// Fan hands a record to each of several next steps, in the order of their declaration.
func Fan[V any](next []task.Fn[V]) task.Fn[V] {
	switch len(next) {
	case 0:
		return func(*task.Ctx, V) {}
	case 1:
		return next[0]
	}
	return func(c *task.Ctx, v V) {
		for _, f := range next {
			f(c, v)
		}
	}
}

// FanKeyed is Fan after KeyBy.
func FanKeyed[K comparable, V any](next []task.KeyedFn[K, V]) task.KeyedFn[K, V] {
	switch len(next) {
	case 0:
		return func(*task.Ctx, K, V) {}
	case 1:
		return next[0]
	}
	return func(c *task.Ctx, k K, v V) {
		for i, f := range next {
			if plant.Is("branch") && i > 0 && c.Time%7 == 3 {
				continue // planted: a record does not come to the second branch
			}
			f(c, k, v)
		}
	}
}

// Map applies f.
//
//go:noinline
func Map[V, W any](op int32, f func(V) W, next task.Fn[W]) task.Fn[V] {
	return func(c *task.Ctx, v V) {
		c.Enter(op)
		w := f(v)
		c.Pass(op)
		next(c, w)
	}
}

// FlatMap applies f and hands on each of its results, with the record's time and headers.
//
//go:noinline
func FlatMap[V, W any](op int32, f func(V) iter.Seq[W], next task.Fn[W]) task.Fn[V] {
	return func(c *task.Ctx, v V) {
		c.Enter(op)
		none := true
		for w := range f(v) {
			if none {
				none = false
				c.Pass(op)
			}
			next(c, w)
			c.Op = op
		}
		if none {
			c.Filter(op)
		}
	}
}

// Filter hands on the records for which keep is true.
//
//go:noinline
func Filter[V any](op int32, keep func(V) bool, next task.Fn[V]) task.Fn[V] {
	return func(c *task.Ctx, v V) {
		c.Enter(op)
		if !keep(v) {
			c.Filter(op)
			return
		}
		c.Pass(op)
		next(c, v)
	}
}

// Peek calls f and hands the record on.
//
//go:noinline
func Peek[V any](op int32, f func(V), next task.Fn[V]) task.Fn[V] {
	return func(c *task.Ctx, v V) {
		c.Enter(op)
		f(v)
		c.Pass(op)
		next(c, v)
	}
}

// Split hands a record to the first branch whose predicate is true, else to rest. A record that nobody takes is
// counted as skipped.
//
//go:noinline
func Split[V any](op int32, when []func(V) bool, next []task.Fn[V], rest task.Fn[V]) task.Fn[V] {
	return func(c *task.Ctx, v V) {
		c.Enter(op)
		for i, f := range when {
			if f(v) {
				c.Pass(op)
				next[i](c, v)
				return
			}
		}
		if rest == nil {
			c.Skip(op)
			return
		}
		c.Pass(op)
		rest(c, v)
	}
}

// TryMap applies f; a record for which it returns an error goes to the policy.
//
//go:noinline
func TryMap[V, W any](op int32, f func(V) (W, error), policy *onerror.Policy, next task.Fn[W]) task.Fn[V] {
	return func(c *task.Ctx, v V) {
		c.Enter(op)
		w, err := f(v)
		if err != nil {
			c.Reject(err, policy)
			return
		}
		c.Pass(op)
		next(c, w)
	}
}

// EventTime takes the record's time from its value, in milliseconds.
//
//go:noinline
func EventTime[V any](op int32, at func(V) int64, next task.Fn[V]) task.Fn[V] {
	return func(c *task.Ctx, v V) {
		c.Enter(op)
		t := at(v)
		if err := plausible(c, t); err != nil {
			c.Reject(err, nil)
			return
		}
		c.Time = t
		c.Pass(op)
		next(c, v)
		c.Port.Observe(t)
	}
}

// EventTimeKeyed is EventTime for a keyed source.
//
//go:noinline
func EventTimeKeyed[K comparable, V any](op int32, at func(V) int64, next task.KeyedFn[K, V]) task.KeyedFn[K, V] {
	return func(c *task.Ctx, k K, v V) {
		c.Enter(op)
		t := at(v)
		if err := plausible(c, t); err != nil {
			c.Reject(err, nil)
			return
		}
		c.Time = t
		c.Pass(op)
		next(c, k, v)
		c.Port.Observe(t)
	}
}

func plausible(c *task.Ctx, t int64) error {
	if m := c.Port.Spec.MaxAhead; m >= 0 && t > c.Task.Now+m {
		return fmt.Errorf("event time %d ms is %d ms ahead of the wall clock, more than the source's MaxAhead", t, t-c.Task.Now)
	}
	return nil
}

// KeyBy takes the key from the value.
//
//go:noinline
func KeyBy[K comparable, V any](op int32, key func(V) K, next task.KeyedFn[K, V]) task.Fn[V] {
	return func(c *task.Ctx, v V) {
		c.Enter(op)
		k := key(v)
		c.Pass(op)
		next(c, k, v)
	}
}

// MapValues applies f to the value and leaves the key alone.
//
//go:noinline
func MapValues[K comparable, V, W any](op int32, f func(K, V) W, next task.KeyedFn[K, W]) task.KeyedFn[K, V] {
	return func(c *task.Ctx, k K, v V) {
		c.Enter(op)
		w := f(k, v)
		if plant.Is("ledger") && c.Time%7 == 3 {
			return // planted: a record is dropped, and nobody counts it
		}
		c.Pass(op)
		next(c, k, w)
	}
}

// FlatMapValues applies f and hands on each of its results, with the record's key, time and headers.
//
//go:noinline
func FlatMapValues[K comparable, V, W any](op int32, f func(K, V) iter.Seq[W], next task.KeyedFn[K, W]) task.KeyedFn[K, V] {
	return func(c *task.Ctx, k K, v V) {
		c.Enter(op)
		none := true
		for w := range f(k, v) {
			if none {
				none = false
				c.Pass(op)
			}
			next(c, k, w)
			c.Op = op
		}
		if none {
			c.Filter(op)
		}
	}
}

// FilterKeyed hands on the records for which keep is true.
//
//go:noinline
func FilterKeyed[K comparable, V any](op int32, keep func(K, V) bool, next task.KeyedFn[K, V]) task.KeyedFn[K, V] {
	return func(c *task.Ctx, k K, v V) {
		c.Enter(op)
		if !keep(k, v) {
			c.Filter(op)
			return
		}
		c.Pass(op)
		next(c, k, v)
	}
}

// PeekKeyed calls f and hands the record on.
//
//go:noinline
func PeekKeyed[K comparable, V any](op int32, f func(K, V), next task.KeyedFn[K, V]) task.KeyedFn[K, V] {
	return func(c *task.Ctx, k K, v V) {
		c.Enter(op)
		f(k, v)
		c.Pass(op)
		next(c, k, v)
	}
}

// Values drops the key; the record keeps it in its bytes.
//
//go:noinline
func Values[K comparable, V, W any](op int32, f func(K, V) W, next task.Fn[W]) task.KeyedFn[K, V] {
	return func(c *task.Ctx, k K, v V) {
		c.Enter(op)
		w := f(k, v)
		c.Pass(op)
		next(c, w)
	}
}
