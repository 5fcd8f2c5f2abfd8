package operator

import (
	"github.com/millstream-go/millstream/internal/task"
)

// Which clock a timer goes by.
const (
	eventTimer byte = iota
	wallTimer
	paceTimer // no clock: it says that the window at that time waits to be emitted
)

// timers are the timers of one store in one task: at most one per key, time and clock. They are kept in memory as a
// queue for each clock, and in changelog and store as entries, so that they move and survive with the state.
type timers struct {
	task    *task.Task
	store   string
	id      uint32
	groups  int
	due     [3]queue[string] // the keys of each clock's
	known   map[timer]*timerState
	changed []timer
}

type timer struct {
	clock byte
	at    int64
	key   string // encoded
}

type timerState struct{ live, logged, changed, queued bool }

func byKey(a, b string) bool { return a < b }

func newTimers(t *task.Task, store string) *timers {
	s := &timers{task: t, store: store, id: task.ID(store), groups: t.Spec.KeyGroups, known: map[timer]*timerState{}}
	for clock := range s.due {
		s.due[clock].before = byKey
	}
	return s
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
	if live && !st.queued {
		st.queued = true
		s.due[t.clock].push(t.at, t.key)
	}
	if !st.changed {
		st.changed = true
		s.changed = append(s.changed, t)
	}
	return true
}

// next is the time of the first timer of a clock, or math.MaxInt64.
func (s *timers) next(clock byte) int64 {
	q := &s.due[clock]
	for len(q.list) > 0 {
		if st := s.known[timer{clock, q.list[0].at, q.list[0].of}]; st != nil && st.live {
			break
		}
		s.pop(clock)
	}
	return q.next()
}

func (s *timers) pop(clock byte) timer {
	at := s.due[clock].next()
	t := timer{clock, at, s.due[clock].pop()}
	if st := s.known[t]; st != nil {
		st.queued = false
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
			s.known[t] = &timerState{live: true, logged: true, queued: true}
			s.due[t.clock].push(t.at, t.key)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *timers) held() int { return len(s.known) * 160 }
