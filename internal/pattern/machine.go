// Package pattern finds patterns in the events of a key. It is the engine behind Keyed.Detect, and knows no streams.
//
// A pattern is compiled to an automaton (compile.go) whose runs are partial matches (run.go). An event is shown to every
// run: it may take it, ignore it, do either, which makes two runs of it, or die. What a run has taken is a path in a
// buffer that all runs of the key share (buffer.go), as in SASE+ (Agrawal, Diao, Gyllstrom, Immerman: Efficient Pattern
// Matching over Event Streams, SIGMOD 2008). There, edges of the buffer carry versions, which say whose they are; here a
// node is a step of one path only, and paths that begin alike share their beginnings, so that none are needed.
//
// The automaton's states, and so which matches there are, follow Flink's CEP library.
package pattern

import (
	"math"
	"time"

	"github.com/millstream-go/millstream/pattern"
)

// Machine is a compiled pattern, for one goroutine.
type Machine[V any] struct {
	states []state[V]
	start  int32
	steps  []string // their names
	ifs    []func(V) bool
	within int64 // ms; 0: none
	gaps   bool  // states have a gap
	skip   pattern.Skip
	target int32 // the step that skip names

	at     moment[V] // the event at hand
	out    []run     // scratch
	queue  []int32
	takes  []*edge[V]
	spare  heap
	finals heap
}

type kind byte

const (
	normal  kind = iota
	final        // the match is complete
	stop         // it can no longer be one
	pending      // it is complete when its time is over
)

// state is a state of the automaton: what a run waits for.
type state[V any] struct {
	kind  kind
	step  int32 // that its take edges take events for
	gap   int64 // ms since the event before; 0: none
	edges []edge[V]
}

type action byte

const (
	take    action = iota // the event is matched
	ignore                // it is passed over
	proceed               // the edges of the other state are followed as well
)

type edge[V any] struct {
	action   action
	from, to int32
	ok       test[V]
}

// test says whether an edge may be followed; nil always may.
type test[V any] func(m *moment[V]) bool

func not[V any](a test[V]) test[V] {
	return func(m *moment[V]) bool { return a != nil && !a(m) }
}

func and[V any](a, b test[V]) test[V] {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return func(m *moment[V]) bool { return a(m) && b(m) }
}

// moment is an event as it is shown to a run.
type moment[V any] struct {
	s     *State[V]
	time  int64
	value V
	known []int8 // by condition: what it says of the event; 0 is not known
	node  int32  // the run's last event
	last  int64  // its time, if
	born  bool   // it has one
	so    pattern.Match[V]
	seen  bool // so is of the run
}

// cond is the test of a condition that looks at the event alone: asked once for each event.
func (m *Machine[V]) cond(f func(V) bool) test[V] {
	i := len(m.ifs)
	m.ifs = append(m.ifs, f)
	return func(at *moment[V]) bool {
		if at.known[i] == 0 {
			if at.known[i] = -1; f(at.value) {
				at.known[i] = 1
			}
		}
		return at.known[i] > 0
	}
}

// where is the test of a condition that looks at the match so far.
func (m *Machine[V]) where(f func(V, pattern.Match[V]) bool) test[V] {
	return func(at *moment[V]) bool {
		if !at.seen {
			at.so, at.seen = m.match(at.s, at.node), true
		}
		return f(at.value, at.so)
	}
}

// since is the test that the event comes within a time of the run's last one.
func since[V any](gap int64) test[V] {
	return func(at *moment[V]) bool { return !at.born || at.time-at.last < gap }
}

// match is the path that ends at a node.
func (m *Machine[V]) match(s *State[V], node int32) pattern.Match[V] {
	n := 0
	for i := node; i >= 0; i = s.nodes[i].prior {
		n++
	}
	list := make([]pattern.Event[V], n)
	for i := node; i >= 0; i = s.nodes[i].prior {
		n--
		e := &s.events[s.nodes[i].event]
		list[n] = pattern.Event[V]{Step: m.steps[s.nodes[i].step], Time: time.UnixMilli(e.time).UTC(), Value: e.value}
	}
	return pattern.Match[V]{Events: list}
}

// never is a time that does not come.
const never = math.MaxInt64

// due is when a run's time is over.
func (m *Machine[V]) due(r *run) (at int64) {
	at = never
	if r.start == unborn {
		return at
	}
	if m.within > 0 {
		at = r.first + m.within
	}
	if g := m.states[r.state].gap; g > 0 {
		at = min(at, r.last+g)
	}
	return at
}

// Due is the time at which Advance has something to do, math.MaxInt64 if there is none.
func (m *Machine[V]) Due(s *State[V]) (at int64) {
	at = never
	if !m.gaps {
		if len(s.runs) > 0 {
			at = m.due(&s.runs[0])
		}
		return at
	}
	for i := range s.runs {
		at = min(at, m.due(&s.runs[i]))
	}
	return at
}
