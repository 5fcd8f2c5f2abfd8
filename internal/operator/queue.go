package operator

import "math"

// A queue has what is due first in front, of what is due at the same time that which before says. It is a binary heap, with
// the times beside the elements: whatever these are, they are compared only at the same time. (container/heap would
// allocate for each that comes and goes.)
type queue[T any] struct {
	list   []queued[T]
	before func(a, b T) bool // nil: in any order
}

type queued[T any] struct {
	at int64
	of T
}

// next is when the first is due, or math.MaxInt64.
func (q *queue[T]) next() int64 {
	if len(q.list) == 0 {
		return math.MaxInt64
	}
	return q.list[0].at
}

// tied says which of two that are due at the same time comes first.
func (q *queue[T]) tied(a, b T) bool { return q.before != nil && q.before(a, b) }

func (q *queue[T]) push(at int64, x T) {
	s := append(q.list, queued[T]{})
	i := len(s) - 1
	for i > 0 {
		up := (i - 1) / 2
		if t := s[up].at; t < at || t == at && !q.tied(x, s[up].of) {
			break
		}
		s[i] = s[up]
		i = up
	}
	s[i] = queued[T]{at, x}
	q.list = s
}

// pop takes the first of a queue that is not empty.
func (q *queue[T]) pop() T {
	last := len(q.list) - 1
	top, x := q.list[0], q.list[last]
	q.list[last] = queued[T]{}
	s, i := q.list[:last], 0
	for {
		low := 2*i + 1
		if low >= last {
			break
		}
		if low+1 < last {
			if a, b := s[low+1].at, s[low].at; a < b || a == b && q.tied(s[low+1].of, s[low].of) {
				low++
			}
		}
		if t := s[low].at; t > x.at || t == x.at && !q.tied(s[low].of, x.of) {
			break
		}
		s[i] = s[low]
		i = low
	}
	if last > 0 {
		s[i] = x
	}
	q.list = s
	return top.of
}
