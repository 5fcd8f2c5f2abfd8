package operator

import "github.com/millstream-go/millstream/internal/task"

// Held holds the value at hand for the operators of windows, which do not know its type: they need of it only what it
// does to an aggregate, and to pass it on if it is late. So the compiler makes them for every pair of key and aggregate,
// and not for every type of value, too; they are what takes longest to compile in a program with windows.
type Held[K comparable, V any] struct{ v V }

// Add changes an aggregate by the value at hand. first says that there was none.
type Add[A any] func(a *A, first bool)

// Lateness says how late a record came.
type Lateness struct {
	Time      int64 // its event time
	From, To  int64 // the last of its windows
	Watermark int64 // that it was judged by
}

// LateFn takes the value at hand, which is late.
type LateFn[K comparable] func(c *task.Ctx, k K, l Lateness)

// LateRecord is a record that came too late.
type LateRecord[V any] struct {
	Value V
	Lateness
}

// Into hands a record to an operator.
func (h *Held[K, V]) Into(process func(*task.Ctx, K)) task.KeyedFn[K, V] {
	return func(c *task.Ctx, k K, v V) {
		h.v = v
		process(c, k)
	}
}

// AddHeld is an update with the value that h holds.
func AddHeld[K comparable, V, A any](h *Held[K, V], update Update[V, A]) Add[A] {
	return func(a *A, first bool) { update(a, h.v, first) }
}

// Gap is the gap of the session of the value that h holds.
func (h *Held[K, V]) Gap(gap func(V) int64) func() int64 { return func() int64 { return gap(h.v) } }

// Late hands on the value that h holds; next may be nil.
func (h *Held[K, V]) Late(next task.KeyedFn[K, LateRecord[V]]) LateFn[K] {
	if next == nil {
		return nil
	}
	return func(c *task.Ctx, k K, l Lateness) { next(c, k, LateRecord[V]{h.v, l}) }
}
