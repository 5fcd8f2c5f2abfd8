package operator

// A schedule knows for each key when there is something to do for it: at the time named, or at an earlier one, when the
// key is then looked at in vain and scheduled again. So what is put off, such as the end of a session that grows, costs
// nothing. It lives in memory only, and is made again from the store.
type schedule[K comparable] struct {
	due   map[K]int64
	queue queue[K] // those whose time differs from due have been overtaken
}

func newSchedule[K comparable]() schedule[K] { return schedule[K]{due: map[K]int64{}} }

// need makes sure that the key is looked at no later than at.
func (s *schedule[K]) need(k K, at int64) {
	if due, ok := s.due[k]; ok && due <= at {
		return
	}
	s.due[k] = at
	s.queue.push(at, k)
}

// forget says that there is nothing to do for the key.
func (s *schedule[K]) forget(k K) { delete(s.due, k) }

// next is the first time at which there is something to do, or math.MaxInt64.
func (s *schedule[K]) next() int64 {
	for len(s.queue.list) > 0 {
		top := &s.queue.list[0]
		if due, ok := s.due[top.of]; ok && due == top.at {
			break
		}
		s.queue.pop()
	}
	return s.queue.next()
}

// take returns a key whose time has come, and takes it off the schedule.
func (s *schedule[K]) take(now int64) (k K, ok bool) {
	if s.next() > now || len(s.queue.list) == 0 {
		return k, false
	}
	k = s.queue.pop()
	delete(s.due, k)
	return k, true
}
