package pattern

import (
	"math"

	"github.com/millstream-go/millstream/pattern"
)

// State is what is known of one key: its runs, the complete matches that wait for earlier ones, and their events.
type State[V any] struct {
	buffer[V]
	runs heap
	done heap
	next uint64 // the number of the next event that is taken
}

// run is a partial match.
type run struct {
	state int32
	node  int32  // its last event; -1: none
	start uint64 // the number of its first event
	first int64  // its time
	last  int64  // that of the last one
}

// unborn is the start of the run that has no event yet. There is one of it, and it stays.
const unborn = math.MaxUint64

// heap has runs by their start. Which of several with the same start comes first is part of the rules: where matches
// exclude each other, it is the one that is found. The order is that of a binary heap into which they are put in the
// order in which they come to be, as in Flink.
type heap []run

func (h *heap) push(r run) {
	*h = append(*h, r)
	q := *h
	for i := len(q) - 1; i > 0; {
		up := (i - 1) / 2
		if q[up].start <= q[i].start {
			break
		}
		q[up], q[i] = q[i], q[up]
		i = up
	}
}

func (h *heap) pop() run {
	q := *h
	top, n := q[0], len(q)-1
	q[0] = q[n]
	*h = q[:n]
	h.down(0)
	return top
}

func (h *heap) down(i int) {
	q := *h
	for {
		low := 2*i + 1
		if low >= len(q) {
			return
		}
		if low+1 < len(q) && q[low+1].start < q[low].start {
			low++
		}
		if q[i].start <= q[low].start {
			return
		}
		q[i], q[low] = q[low], q[i]
		i = low
	}
}

// remove takes out the runs for which gone is true.
func (h *heap) remove(gone func(r *run) bool) {
	q := *h
	keep := q[:0]
	for i := range q {
		if !gone(&q[i]) {
			keep = append(keep, q[i])
		}
	}
	if *h = keep; len(keep) == len(q) {
		return
	}
	for i := len(keep)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

// fit copies runs to where a key keeps them, which does not stay much larger than they need.
func fit(to, runs heap) heap {
	if cap(to) > 4*len(runs)+16 {
		to = nil
	}
	return append(to[:0], runs...)
}

// New is the state of a key that nothing is known of.
func (m *Machine[V]) New() *State[V] {
	return &State[V]{runs: heap{{state: m.start, node: -1, start: unborn}}}
}

// Empty says that nothing is known of the key: the state need not be kept.
func (s *State[V]) Empty() bool {
	return len(s.runs) == 1 && s.runs[0].start == unborn && len(s.done) == 0
}

// Size is the number of events, of their places in paths, and of runs.
func (s *State[V]) Size() (events, nodes, runs int) {
	return len(s.events) - len(s.freeEvents), len(s.nodes) - len(s.freeNodes), len(s.runs) + len(s.done)
}

// Process shows an event to all runs. Events come in the order of time, and Advance has been called for the event's. It
// returns the matches that are found, and whether anything has changed.
func (m *Machine[V]) Process(s *State[V], time int64, v V) (found []pattern.Match[V], changed bool) {
	at := &m.at
	at.s, at.time, at.value = s, time, v
	clear(at.known)
	event := int32(-1) // where it is in the buffer, once it is taken
	next, finals := m.spare[:0], m.finals[:0]
	for i := range s.runs {
		r := s.runs[i]
		out := m.follow(s, &r, &event)
		if len(out) != 1 || out[0] != r {
			changed = true
		}
		dead := false
		for j := range out {
			switch m.states[out[j].state].kind {
			case final:
				finals.push(out[j])
			case stop:
				dead = true
			}
		}
		for j := range out {
			switch m.states[out[j].state].kind {
			case final:
			case stop:
				s.release(out[j].node)
			default:
				if dead {
					s.release(out[j].node)
				} else {
					next.push(out[j])
				}
			}
		}
	}
	s.runs, m.spare = fit(s.runs, next), next
	found = m.settle(s, finals, found)
	m.finals = finals[:0]
	if event >= 0 {
		s.drop(event)
	}
	var zero V
	at.value, at.so, at.s = zero, pattern.Match[V]{}, nil
	return found, changed
}

// follow makes the runs that a run becomes by the event at hand. Each holds its path; the one that r held is let go.
func (m *Machine[V]) follow(s *State[V], r *run, event *int32) []run {
	at := &m.at
	at.node, at.seen, at.last, at.born = r.node, false, r.last, r.start != unborn
	m.takes = m.takes[:0]
	m.queue = append(m.queue[:0], r.state)
	for len(m.queue) > 0 {
		i := m.queue[len(m.queue)-1]
		m.queue = m.queue[:len(m.queue)-1]
		for j := range m.states[i].edges {
			e := &m.states[i].edges[j]
			switch {
			case e.ok != nil && !e.ok(at):
			case e.action == proceed:
				m.queue = append(m.queue, e.to)
			default:
				m.takes = append(m.takes, e)
			}
		}
	}
	born := r.start != unborn
	out := m.out[:0]
	for _, e := range m.takes {
		n := *r
		n.state = e.to
		if e.action == ignore {
			if born {
				s.hold(n.node)
				out = append(out, n)
			}
			continue
		}
		if *event < 0 {
			*event = s.put(at.time, s.next, at.value)
			s.next++
		}
		n.node = s.extend(r.node, *event, m.states[e.from].step)
		n.last = at.time
		if !born {
			n.start, n.first = s.events[*event].number, at.time
		}
		out = append(out, n)
		if end := m.ends(e.to); end >= 0 {
			n.state = end
			s.hold(n.node)
			out = append(out, n)
		}
	}
	if !born {
		out = append(out, *r)
	}
	s.release(r.node)
	m.out = out
	return out
}

// ends is the final state that can be reached from a state without another event; -1 if none.
func (m *Machine[V]) ends(from int32) int32 {
	m.queue = append(m.queue[:0], from)
	for len(m.queue) > 0 {
		i := m.queue[len(m.queue)-1]
		m.queue = m.queue[:len(m.queue)-1]
		for j := range m.states[i].edges {
			e := &m.states[i].edges[j]
			if e.action != proceed || e.ok != nil && !e.ok(&m.at) {
				continue
			}
			if m.states[e.to].kind == final {
				return e.to
			}
			m.queue = append(m.queue, e.to)
		}
	}
	return -1
}

// TimedOut is a partial match whose time is over.
type TimedOut[V any] struct {
	pattern.Match[V]
	At int64 // when it was over
}

// Advance says that the key's time has come to t: all of its events before t have been processed. Runs whose time is
// over at t are matches, if only their time was to pass, or have timed out. want says that those are wanted.
func (m *Machine[V]) Advance(s *State[V], t int64, want bool) (found []pattern.Match[V], out []TimedOut[V], changed bool) {
	if m.Due(s) > t {
		return nil, nil, false
	}
	next, finals := m.spare[:0], m.finals[:0]
	for i := range s.runs {
		r := &s.runs[i]
		switch {
		case m.due(r) > t:
			next.push(*r)
		case m.states[r.state].kind == pending:
			finals.push(*r)
		default:
			if want {
				at := r.first + m.within
				if g := m.states[r.state].gap; g > 0 && r.last+g <= t {
					at = r.last + g
				}
				out = append(out, TimedOut[V]{m.match(s, r.node), at})
			}
			s.release(r.node)
		}
	}
	s.runs, m.spare = fit(s.runs, next), next
	found = m.settle(s, finals, found)
	m.finals = finals[:0]
	return found, out, true
}

// settle finds matches among the complete runs. With a skip, one is found only when no run that began earlier is left.
func (m *Machine[V]) settle(s *State[V], finals heap, found []pattern.Match[V]) []pattern.Match[V] {
	for _, r := range finals {
		s.done.push(r)
	}
	for len(s.done) > 0 {
		if m.skip.Kind != pattern.SkipNone && len(s.runs) > 0 && s.done[0].start > s.runs[0].start {
			break
		}
		r := s.done.pop()
		if limit, ok := m.skipTo(s, &r); ok {
			gone := func(x *run) bool {
				if x.start == unborn || x.start >= limit {
					return false
				}
				s.release(x.node)
				return true
			}
			s.runs.remove(gone)
			s.done.remove(gone)
		}
		found = append(found, m.match(s, r.node))
		s.release(r.node)
	}
	return found
}

// skipTo is the number of the event before which, after a match, none may have begun.
func (m *Machine[V]) skipTo(s *State[V], r *run) (limit uint64, ok bool) {
	number := func(node int32) uint64 { return s.events[s.nodes[node].event].number }
	switch m.skip.Kind {
	case pattern.SkipNext:
		return r.start + 1, true
	case pattern.SkipPast:
		return number(r.node) + 1, true
	case pattern.SkipFirst, pattern.SkipLast:
		for i := r.node; i >= 0; i = s.nodes[i].prior {
			if s.nodes[i].step == m.target {
				limit, ok = number(i), true
				if m.skip.Kind == pattern.SkipLast {
					break
				}
			}
		}
	}
	return limit, ok
}
