package pattern

import (
	"iter"
	"time"
)

// Match is what has been matched, of a pattern or so far: events, in the order in which they happened.
type Match[V any] struct{ Events []Event[V] }

// Event is an event of a match.
type Event[V any] struct {
	Step  string
	Time  time.Time
	Value V
}

// All are the events of a step.
func (m Match[V]) All(step string) iter.Seq[V] {
	return func(yield func(V) bool) {
		for i := range m.Events {
			if m.Events[i].Step == step && !yield(m.Events[i].Value) {
				return
			}
		}
	}
}

// First is the first event of a step; ok is false if it has none.
func (m Match[V]) First(step string) (v V, ok bool) {
	for v := range m.All(step) {
		return v, true
	}
	return v, false
}

// Last is the last event of a step; ok is false if it has none.
func (m Match[V]) Last(step string) (v V, ok bool) {
	for x := range m.All(step) {
		v, ok = x, true
	}
	return v, ok
}

// Count is the number of events of a step.
func (m Match[V]) Count(step string) (n int) {
	for range m.All(step) {
		n++
	}
	return n
}

// Start is the time of the first event.
func (m Match[V]) Start() time.Time { return m.Events[0].Time }

// End is the time of the last event.
func (m Match[V]) End() time.Time { return m.Events[len(m.Events)-1].Time }
