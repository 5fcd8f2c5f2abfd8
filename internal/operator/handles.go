package operator

import (
	"encoding/binary"
	"fmt"
	"iter"
	"time"

	"github.com/millstream-go/millstream/internal/task"
)

// The handles of package state, each a view of its Cells.

// ValueHandle is a state.Value, and with a function a state.Reducing.
type ValueHandle[K comparable, V any] struct {
	cells  *Cells[K, struct{}, V]
	reduce func(sum, v V) V
}

// NewValueHandle adds a handle to a task.
func NewValueHandle[K comparable, V any](t *task.Task, clock *task.Clock, s CellsSpec[K, struct{}, V], reduce func(sum, v V) V) ValueHandle[K, V] {
	s.Subs = nothing{}
	c := newCells(t, clock, s)
	c.single = true
	return ValueHandle[K, V]{c.added(), reduce}
}

// Get implements state.Value.
func (h ValueHandle[K, V]) Get() (V, bool) { return h.cells.Get(struct{}{}) }

// Put implements state.Value.
func (h ValueHandle[K, V]) Put(v V) { h.cells.Put(struct{}{}, v) }

// Clear implements state.Value.
func (h ValueHandle[K, V]) Clear() { h.cells.Delete(struct{}{}) }

// Add implements state.Reducing.
func (h ValueHandle[K, V]) Add(v V) {
	if sum, ok := h.Get(); ok {
		v = h.reduce(sum, v)
	}
	h.Put(v)
}

// ListHandle is a state.List: its sub-keys are numbers.
type ListHandle[K comparable, V any] struct {
	cells *Cells[K, uint64, V]
	next  map[K]uint64 // the next number of each list that has cells that are not in the store yet
}

// NewListHandle adds a handle to a task.
func NewListHandle[K comparable, V any](t *task.Task, clock *task.Clock, s CellsSpec[K, uint64, V]) *ListHandle[K, V] {
	s.Subs = numberSub{}
	h := &ListHandle[K, V]{newCells(t, clock, s), map[K]uint64{}}
	h.cells.settled = func(k K) { delete(h.next, k) }
	h.cells.added()
	return h
}

// Append implements state.List.
func (h *ListHandle[K, V]) Append(v V) {
	k, c := h.cells.At()
	n, known := h.next[k]
	if !known || len(h.cells.fresh[k]) == 0 {
		last, ok, err := h.cells.last()
		if err != nil {
			c.Task.Fail(err)
			return
		}
		if n = 0; ok {
			n = last + 1
		}
	}
	h.next[k] = n + 1
	h.cells.Put(n, v)
}

// All implements state.List.
func (h *ListHandle[K, V]) All() iter.Seq[V] {
	return func(yield func(V) bool) { h.cells.Scan(nil, nil, func(_ uint64, v V) bool { return yield(v) }) }
}

// Clear implements state.List.
func (h *ListHandle[K, V]) Clear() { h.cells.DeleteAll() }

// MapHandle is a state.Map.
type MapHandle[K, S comparable, V any] struct{ cells *Cells[K, S, V] }

// NewMapHandle adds a handle to a task.
func NewMapHandle[K, S comparable, V any](t *task.Task, clock *task.Clock, s CellsSpec[K, S, V]) MapHandle[K, S, V] {
	return MapHandle[K, S, V]{newCells(t, clock, s).added()}
}

// Get implements state.Map.
func (h MapHandle[K, S, V]) Get(s S) (V, bool) { return h.cells.Get(s) }

// Put implements state.Map.
func (h MapHandle[K, S, V]) Put(s S, v V) { h.cells.Put(s, v) }

// Delete implements state.Map.
func (h MapHandle[K, S, V]) Delete(s S) { h.cells.Delete(s) }

// All implements state.Map.
func (h MapHandle[K, S, V]) All() iter.Seq2[S, V] {
	return func(yield func(S, V) bool) { h.cells.Scan(nil, nil, yield) }
}

// Range implements state.Map.
func (h MapHandle[K, S, V]) Range(from, to S) iter.Seq2[S, V] {
	return func(yield func(S, V) bool) {
		lo, err := h.cells.Subs.Append(nil, from)
		hi, err2 := h.cells.Subs.Append([]byte{}, to)
		if err == nil {
			err = err2
		}
		if err != nil {
			h.cells.store.task.Fail(&task.StateError{Store: h.cells.store.name, Doing: "encode sub-key", Err: err})
			return
		}
		h.cells.Scan(lo, hi, yield)
	}
}

// Clear implements state.Map.
func (h MapHandle[K, S, V]) Clear() { h.cells.DeleteAll() }

// WindowHandle is a state.Window: a map by time, whose values are as old as their windows.
type WindowHandle[K comparable, V any] struct{ m MapHandle[K, int64, V] }

// NewWindowHandle adds a handle to a task.
func NewWindowHandle[K comparable, V any](t *task.Task, clock *task.Clock, s CellsSpec[K, int64, V]) WindowHandle[K, V] {
	s.Subs, s.Since = timeSub{}, func(start int64) int64 { return start }
	return WindowHandle[K, V]{NewMapHandle(t, clock, s)}
}

// Get implements state.Window.
func (h WindowHandle[K, V]) Get(start time.Time) (V, bool) { return h.m.Get(start.UnixMilli()) }

// Put implements state.Window.
func (h WindowHandle[K, V]) Put(start time.Time, v V) { h.m.Put(start.UnixMilli(), v) }

// Delete implements state.Window.
func (h WindowHandle[K, V]) Delete(start time.Time) { h.m.Delete(start.UnixMilli()) }

// Range implements state.Window.
func (h WindowHandle[K, V]) Range(from, to time.Time) iter.Seq2[time.Time, V] {
	return func(yield func(time.Time, V) bool) {
		h.m.cells.learn()
		h.m.Range(from.UnixMilli(), to.UnixMilli())(func(start int64, v V) bool { return yield(time.UnixMilli(start).UTC(), v) })
	}
}

// Clear implements state.Window.
func (h WindowHandle[K, V]) Clear() { h.m.Clear() }

// VersionedHandle is a state.Versioned: its sub-keys are times, the newest first, so that the version of a time is the
// first one from there.
type VersionedHandle[K comparable, V any] struct{ c *Cells[K, int64, V] }

// NewVersionedHandle adds a handle to a task.
func NewVersionedHandle[K comparable, V any](t *task.Task, clock *task.Clock, s CellsSpec[K, int64, V]) VersionedHandle[K, V] {
	s.Subs, s.Since, s.Versions = newestFirst{}, func(from int64) int64 { return from }, true
	return VersionedHandle[K, V]{newCells(t, clock, s).added()}
}

// Put implements state.Versioned.
func (h VersionedHandle[K, V]) Put(from time.Time, v V) { h.c.Put(from.UnixMilli(), v) }

// AsOf implements state.Versioned.
func (h VersionedHandle[K, V]) AsOf(at time.Time) (v V, ok bool) {
	ms := at.UnixMilli()
	if behind(ms, h.c.TTL, h.c.clock.W) {
		return v, false
	}
	h.c.learn()
	lo, _ := newestFirst{}.Append(nil, ms)
	h.c.Scan(lo, nil, func(_ int64, x V) bool {
		v, ok = x, true
		return false
	})
	return v, ok
}

// Clear implements state.Versioned.
func (h VersionedHandle[K, V]) Clear() { h.c.DeleteAll() }

// numberSub is a number as a sub-key.
type numberSub struct{}

func (numberSub) Name() string { return "number" }
func (numberSub) Append(b []byte, n uint64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(b, n), nil
}

func (numberSub) Decode(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("a number of %d bytes: %w", len(b), errDamaged)
	}
	return binary.BigEndian.Uint64(b), nil
}

// timeSub is a time as a sub-key, in ms; earlier ones are first.
type timeSub struct{}

func (timeSub) Name() string                             { return "time" }
func (timeSub) Append(b []byte, t int64) ([]byte, error) { return task.AppendTime(b, t), nil }
func (timeSub) Decode(b []byte) (int64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("a time of %d bytes: %w", len(b), errDamaged)
	}
	return task.Time(b), nil
}

// newestFirst is a time as a sub-key, in ms; later ones are first.
type newestFirst struct{ timeSub }

func (newestFirst) Name() string { return "time, newest first" }
func (newestFirst) Append(b []byte, t int64) ([]byte, error) {
	return task.AppendTime(b, ^t), nil
}

func (x newestFirst) Decode(b []byte) (int64, error) {
	t, err := x.timeSub.Decode(b)
	return ^t, err
}
