package operator

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/millstream-go/millstream/internal/task"
)

// Which clock a timer goes by.
const (
	eventTimer byte = iota
	wallTimer
	paceTimer // no clock: it says that the window at that time waits to be emitted
)

// timers are the timers of one store in one task: at most one per key, time and clock. In changelog and store they are
// entries, so that they move and survive with the state. In memory is a queue of the first ones of each clock. More are
// read when it has run empty: in the store, those of a key group lie in the order of their times.
type timers struct {
	task   *task.Task
	store  string
	id     uint32
	groups int
	due    [3]queue[string] // the keys of each clock's first ones
	// until is the timer of a clock before which all are known. A later one is known only as long as the store does not have
	// it as it is.
	until   [3]queued[string]
	known   map[timer]*timerState
	changed []timer
	later   []timer // those not before until that were handed over
	epoch   uint64  // the last one that something was handed over in
	most    int     // how many a queue may have
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
		s.due[clock].before, s.until[clock] = byKey, queued[string]{at: math.MaxInt64}
	}
	return s
}

// first says that a timer is among those that are all known.
func (s *timers) first(t timer) bool {
	u := &s.until[t.clock]
	return t.at < u.at || t.at == u.at && (t.key < u.of || u.at == math.MaxInt64)
}

// set registers a timer, or (live false) takes one back. It says whether that has changed anything.
func (s *timers) set(t timer, live bool) bool {
	st := s.known[t]
	if st == nil {
		stored := !s.first(t) && s.stored(t)
		if stored == live {
			return false
		}
		st = &timerState{live: stored, logged: stored}
		s.known[t] = st
	}
	if st.live == live {
		return false
	}
	st.live = live
	if live && !st.queued && s.first(t) {
		s.enqueue(t, st)
	}
	if !st.changed {
		st.changed = true
		s.changed = append(s.changed, t)
	}
	return true
}

func (s *timers) enqueue(t timer, st *timerState) {
	st.queued = true
	s.due[t.clock].push(t.at, t.key)
}

// next is the time of the first timer of a clock, or math.MaxInt64.
func (s *timers) next(clock byte) int64 {
	q := &s.due[clock]
	for {
		for len(q.list) > 0 {
			if st := s.known[timer{clock, q.list[0].at, q.list[0].of}]; st != nil && st.live {
				return q.list[0].at
			}
			s.pop(clock)
		}
		if s.until[clock].at == math.MaxInt64 {
			return math.MaxInt64
		}
		if err := s.refill(clock); err != nil {
			s.task.Fail(err)
			return math.MaxInt64
		}
	}
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
		switch {
		case !s.first(t):
			s.later = append(s.later, t)
		case !st.live:
			delete(s.known, t)
		}
		s.epoch = d.Epoch
	}
	s.changed = s.changed[:0]
}

// applied says that the epoch is in the store. So many bytes may be held now.
func (s *timers) applied(epoch uint64, room int) {
	if epoch < s.epoch {
		return
	}
	for _, t := range s.later {
		if st := s.known[t]; st != nil && !st.changed && !(st.live && s.first(t)) {
			delete(s.known, t)
		}
	}
	s.later = s.later[:0]
	s.most = max(room/timerSize, min(room, fewestTimers), 2)
	for clock := range s.due {
		if len(s.due[clock].list) > s.most {
			s.shorten(byte(clock))
		}
	}
}

// shorten leaves about half as many timers of a clock in memory as may be: the first ones, and those that have changed.
// The store has the others.
func (s *timers) shorten(clock byte) {
	q := &s.due[clock]
	slices.SortFunc(q.list, byTime)
	s.until[clock] = q.list[s.most/2]
	q.list = slices.Clone(q.list[:s.most/2])
	known := make(map[timer]*timerState, s.most)
	for t, st := range s.known {
		if !s.first(t) {
			st.queued = false
			if !st.changed {
				continue
			}
		}
		known[t] = st
	}
	s.known = known
}

func byTime(a, b queued[string]) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.of, b.of)) }

// stored says that the store has a timer.
func (s *timers) stored(t timer) bool {
	_, found, err := s.task.View.Get(s.appendKey(nil, t), nil)
	if err != nil {
		s.task.Fail(fmt.Errorf("store %s: %w", s.store, err))
	}
	return found
}

// refill reads the next timers of a clock.
func (s *timers) refill(clock byte) error {
	from, until := s.until[clock], queued[string]{at: math.MaxInt64}
	var list []queued[string]
	for g := range s.groups {
		all := append(task.AppendPrefix(nil, task.KindTimer, s.id, uint16(g)), clock)
		lo := append(task.AppendTime(slices.Clone(all), from.at), from.of...)
		err := s.task.View.Scan(lo, after(slices.Clone(all)), func(key, _ []byte) error {
			key = key[len(all):]
			if len(key) < 8 {
				return &task.StateError{Store: s.store, Doing: "read timer", Err: errDamaged}
			}
			x := queued[string]{task.Time(key), string(key[8:])}
			if until.at < math.MaxInt64 && byTime(x, until) >= 0 {
				return errStop
			}
			if list = append(list, x); len(list) > s.most { // those that are due last are for the next time
				slices.SortFunc(list, byTime)
				until, list = list[s.most/2], list[:s.most/2]
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			return fmt.Errorf("store %s: %w", s.store, err)
		}
	}
	s.until[clock] = until
	for _, x := range list {
		if t := (timer{clock, x.at, x.of}); s.known[t] == nil {
			s.known[t] = &timerState{live: true, logged: true}
		}
	}
	for t, st := range s.known {
		if t.clock == clock && st.live && !st.queued && s.first(t) {
			s.enqueue(t, st)
		}
	}
	return nil
}

// restore looks whether the store has timers. They are read when it is asked for the next one.
func (s *timers) restore() error {
	s.most = max(int(min(s.task.Spec.MaxHeld.Load(), fewestTimers)), 2)
	lo := task.AppendPrefix(nil, task.KindTimer, s.id, 0)
	hi := after(task.AppendPrefix(nil, task.KindTimer, s.id, uint16(s.groups-1)))
	err := s.task.View.Scan(lo, hi, func(_, _ []byte) error { return errStop })
	if errors.Is(err, errStop) {
		for clock := range s.until {
			s.until[clock].at = math.MinInt64
		}
		return nil
	}
	return err
}

func (s *timers) held() int { return len(s.known) * timerSize }

// timerSize is about how many bytes a timer takes.
const timerSize = 160

// fewestTimers of a clock may be in memory however little room there is, unless there is none: to read on costs a look at
// each key group.
const fewestTimers = 4096
