package pattern

import (
	"encoding/binary"
	"errors"
	"math"
)

// A state as bytes: the time at which Advance is due, so that it can be known without the rest; then events, nodes and
// runs, which name each other by their place in the list. Numbers are varints.

// format is the first byte.
const format = 1

var errDamaged = errors.New("it is damaged")

// Append appends a state. value appends an event's value.
func (m *Machine[V]) Append(b []byte, s *State[V], value func(b []byte, v V) ([]byte, error)) ([]byte, error) {
	b = binary.AppendVarint(append(b, format), m.Due(s))
	b = binary.AppendUvarint(b, s.next)
	events, nodes := make([]uint64, len(s.events)), make([]uint64, len(s.nodes)) // places in the list
	n := uint64(0)
	for i := range s.events {
		if s.events[i].refs > 0 {
			events[i] = n
			n++
		}
	}
	b = binary.AppendUvarint(b, n)
	var buf []byte
	for i := range s.events {
		e := &s.events[i]
		if e.refs == 0 {
			continue
		}
		b = binary.AppendUvarint(binary.AppendVarint(b, e.time), e.number)
		var err error
		if buf, err = value(buf[:0], e.value); err != nil {
			return b, err
		}
		b = append(binary.AppendUvarint(b, uint64(len(buf))), buf...)
	}
	n = 0
	for i := range s.nodes {
		if s.nodes[i].refs > 0 {
			n++
			nodes[i] = n // 0 is none
		}
	}
	b = binary.AppendUvarint(b, n)
	for i := range s.nodes {
		x := &s.nodes[i]
		if x.refs == 0 {
			continue
		}
		prior := uint64(0)
		if x.prior >= 0 {
			prior = nodes[x.prior]
		}
		b = binary.AppendUvarint(binary.AppendUvarint(binary.AppendUvarint(b, events[x.event]), prior), uint64(x.step))
	}
	for _, h := range []heap{s.runs, s.done} {
		b = binary.AppendUvarint(b, uint64(len(h)))
		for i := range h {
			r := &h[i]
			if b = binary.AppendUvarint(b, uint64(r.state)); r.start == unborn {
				b = append(b, 0)
				continue
			}
			b = binary.AppendUvarint(b, nodes[r.node])
			b = binary.AppendVarint(binary.AppendVarint(binary.AppendUvarint(b, r.start), r.first), r.last)
		}
	}
	return b, nil
}

// Due reads from a state's bytes when Advance is due.
func Due(b []byte) (int64, error) {
	if len(b) == 0 || b[0] != format {
		return 0, errDamaged
	}
	at, n := binary.Varint(b[1:])
	if n <= 0 {
		return 0, errDamaged
	}
	return at, nil
}

// Decode reads what Append wrote. The bytes may be changed afterwards if value has not kept them.
func (m *Machine[V]) Decode(b []byte, value func(b []byte) (V, error)) (*State[V], error) {
	if _, err := Due(b); err != nil {
		return nil, err
	}
	r := reader{b: b[1:]}
	r.varint()
	s := &State[V]{next: r.uvarint()}
	for range r.count(4) {
		e := event[V]{time: r.varint(), number: r.uvarint()}
		v := r.bytes()
		if r.bad {
			return nil, errDamaged
		}
		var err error
		if e.value, err = value(v); err != nil {
			return nil, err
		}
		s.events = append(s.events, e)
	}
	for range r.count(3) {
		// A node may come before its prior: places are used again.
		x := node{event: r.index(len(s.events)), prior: int32(r.uvarint()) - 1, step: r.index(len(m.steps))}
		s.nodes = append(s.nodes, x)
	}
	for i := range s.nodes {
		x := &s.nodes[i]
		if r.bad || x.prior < -1 || int(x.prior) >= len(s.nodes) {
			return nil, errDamaged
		}
		s.events[x.event].refs++
		s.hold(x.prior)
	}
	if !s.paths() {
		return nil, errDamaged
	}
	for _, h := range []*heap{&s.runs, &s.done} {
		for range r.count(2) {
			x := run{state: r.index(len(m.states)), node: int32(r.uvarint()) - 1, start: unborn}
			if x.node >= 0 {
				x.start, x.first, x.last = r.uvarint(), r.varint(), r.varint()
			}
			if r.bad || int(x.node) >= len(s.nodes) || x.node < -1 || x.node < 0 && x.state != m.start {
				return nil, errDamaged
			}
			s.hold(x.node)
			*h = append(*h, x)
		}
	}
	if r.bad || len(r.b) > 0 || s.unused() {
		return nil, errDamaged
	}
	return s, nil
}

// paths says that no path goes in a circle: an event comes after the one before it.
func (s *State[V]) paths() bool {
	for _, n := range s.nodes {
		if n.prior >= 0 && s.events[n.event].number <= s.events[s.nodes[n.prior].event].number {
			return false
		}
	}
	return true
}

// unused says that there is something that nothing refers to.
func (s *State[V]) unused() bool {
	for i := range s.nodes {
		if s.nodes[i].refs == 0 {
			return true
		}
	}
	for i := range s.events {
		if s.events[i].refs == 0 {
			return true
		}
	}
	return false
}

// reader reads numbers; bad says that it could not.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	x, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return x
}

func (r *reader) varint() int64 {
	x, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return x
}

// index reads a place in a list of n.
func (r *reader) index(n int) int32 {
	x := r.uvarint()
	if x >= uint64(n) || x > math.MaxInt32 {
		r.bad = true
		return 0
	}
	return int32(x)
}

// count reads how many of something follow, each of at least so many bytes.
func (r *reader) count(size int) int {
	x := r.uvarint()
	if r.bad || x > uint64(len(r.b)/size) {
		r.bad = true
		return 0
	}
	return int(x)
}

func (r *reader) bytes() []byte {
	n := r.uvarint()
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}
