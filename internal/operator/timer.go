package operator

import (
	"math"

	"github.com/millstream-go/millstream/internal/task"
)

// Which clock a timer goes by.
const (
	eventTimer byte = iota
	wallTimer
	paceTimer // no clock: it says that the window at that time waits to be emitted
)

// timers are the timers of one store in one task: at most one per key, time and clock. They are kept in memory as a
// heap for each clock, and in changelog and store as entries, so that they move and survive with the state.
type timers struct {
	task    *task.Task
	store   string
	id      uint32
	groups  int
	heaps   [3]timerHeap
	known   map[timer]*timerState
	changed []timer
}

type timer struct {
	clock byte
	at    int64
	key   string // encoded
}

type timerState struct{ live, logged, changed, heaped bool }

// timerHeap has the earliest timer first, of those with the same time the one with the smallest key. (container/heap would
// allocate for each timer that comes and goes.)
type timerHeap []timer

func (h timerHeap) less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].key < h[j].key
}

func (h *timerHeap) push(t timer) {
	s := append(*h, t)
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if !s.less(i, up) {
			break
		}
		s[up], s[i] = s[i], s[up]
		i = up
	}
	*h = s
}

// pop takes the first timer of a heap that is not empty.
func (h *timerHeap) pop() timer {
	s := *h
	first, n := s[0], len(s)-1
	s[0], s[n] = s[n], timer{}
	s = s[:n]
	for i := 0; ; {
		low := 2*i + 1
		if low >= n {
			break
		}
		if low+1 < n && s.less(low+1, low) {
			low++
		}
		if !s.less(low, i) {
			break
		}
		s[i], s[low] = s[low], s[i]
		i = low
	}
	*h = s
	return first
}

func newTimers(t *task.Task, store string) *timers {
	return &timers{task: t, store: store, id: task.ID(store), groups: t.Spec.KeyGroups, known: map[timer]*timerState{}}
}

// set registers a timer, or (live false) takes one back. It says whether that has changed anything.
func (s *timers) set(t timer, live bool) bool {
	st := s.known[t]
	if st == nil {
		if !live {
			return false
		}
		st = &timerState{}
		s.known[t] = st
	}
	if st.live == live {
		return false
	}
	st.live = live
	if live && !st.heaped {
		st.heaped = true
		s.heaps[t.clock].push(t)
	}
	if !st.changed {
		st.changed = true
		s.changed = append(s.changed, t)
	}
	return true
}

// next is the time of the first timer of a clock, or math.MaxInt64.
func (s *timers) next(clock byte) int64 {
	h := &s.heaps[clock]
	for len(*h) > 0 {
		t := (*h)[0]
		if st := s.known[t]; st != nil && st.live {
			return t.at
		}
		s.pop(clock)
	}
	return math.MaxInt64
}

func (s *timers) pop(clock byte) timer {
	t := s.heaps[clock].pop()
	if st := s.known[t]; st != nil {
		st.heaped = false
	}
	return t
}

// fire takes the first timer of a clock, if its time is before the given one.
func (s *timers) fire(clock byte, before int64) (timer, bool) {
	if s.next(clock) >= before {
		return timer{}, false
	}
	t := s.pop(clock)
	s.set(t, false)
	return t, true
}

func (s *timers) appendKey(b []byte, t timer) []byte {
	b = task.AppendPrefix(b, task.KindTimer, s.id, task.Group([]byte(t.key), s.groups))
	b = append(b, t.clock)
	b = task.AppendTime(b, t.at)
	return append(b, t.key...)
}

func (s *timers) cut(d *task.Delta) {
	for _, t := range s.changed {
		st := s.known[t]
		st.changed = false
		if st.live || st.logged {
			b := s.appendKey(d.Buf(64+len(t.key)), t)
			n := len(b)
			if st.live {
				b = append(b, 1)
			}
			d.Put(b, n, !st.live, false)
		}
		st.logged = st.live
		if !st.live {
			delete(s.known, t)
		}
	}
	s.changed = s.changed[:0]
}

func (s *timers) restore() error {
	for g := range s.groups {
		lo := task.AppendPrefix(nil, task.KindTimer, s.id, uint16(g))
		hi := after(task.AppendPrefix(nil, task.KindTimer, s.id, uint16(g)))
		err := s.task.View.Scan(lo, hi, func(key, _ []byte) error {
			key = key[task.PrefixLen:]
			if len(key) < 9 || key[0] > paceTimer {
				return &task.StateError{Store: s.store, Doing: "read timer", Err: errDamaged}
			}
			t := timer{clock: key[0], at: task.Time(key[1:]), key: string(key[9:])}
			s.known[t] = &timerState{live: true, logged: true, heaped: true}
			s.heaps[t.clock].push(t)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *timers) held() int { return len(s.known) * 160 }
