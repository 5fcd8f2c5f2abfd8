package operator

import "math"

// A schedule knows for each key when there is something to do for it: at the time named, or at an earlier one, when the
// key is then looked at in vain and scheduled again. So what is put off, such as the end of a session that grows, costs
// nothing. It lives in memory only, and is made again from the store.
type schedule[K comparable] struct {
	due  map[K]int64
	heap []scheduled[K] // the smallest time first; those that differ from due have been overtaken
}

type scheduled[K comparable] struct {
	at  int64
	key K
}

func newSchedule[K comparable]() schedule[K] { return schedule[K]{due: map[K]int64{}} }

// need makes sure that the key is looked at no later than at.
func (s *schedule[K]) need(k K, at int64) {
	if due, ok := s.due[k]; ok && due <= at {
		return
	}
	s.due[k] = at
	h := append(s.heap, scheduled[K]{at, k})
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if h[up].at <= h[i].at {
			break
		}
		h[up], h[i] = h[i], h[up]
		i = up
	}
	s.heap = h
}

// forget says that there is nothing to do for the key.
func (s *schedule[K]) forget(k K) { delete(s.due, k) }

// next is the first time at which there is something to do, or math.MaxInt64.
func (s *schedule[K]) next() int64 {
	for len(s.heap) > 0 {
		if top := s.heap[0]; s.due[top.key] == top.at {
			if _, ok := s.due[top.key]; ok {
				return top.at
			}
		}
		s.pop()
	}
	return math.MaxInt64
}

// take returns a key whose time has come, and takes it off the schedule.
func (s *schedule[K]) take(now int64) (k K, ok bool) {
	if s.next() > now || len(s.heap) == 0 {
		return k, false
	}
	k = s.heap[0].key
	s.pop()
	delete(s.due, k)
	return k, true
}

func (s *schedule[K]) pop() {
	h := s.heap
	n := len(h) - 1
	h[0] = h[n]
	h[n] = scheduled[K]{}
	h = h[:n]
	for i := 0; ; {
		low := 2*i + 1
		if low >= n {
			break
		}
		if low+1 < n && h[low+1].at < h[low].at {
			low++
		}
		if h[i].at <= h[low].at {
			break
		}
		h[i], h[low] = h[low], h[i]
		i = low
	}
	s.heap = h
}
