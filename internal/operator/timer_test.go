package operator

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/internal/task"
)

// shelved is a store in memory, which counts what is read.
type shelved struct {
	task.View
	entries map[string]string
	read    int
	sorted  int // of them, by GetSorted
}

func (s *shelved) Get(key, dst []byte) ([]byte, bool, error) {
	s.read++
	v, found := s.entries[string(key)]
	return append(dst, v...), found, nil
}

func (s *shelved) GetSorted(keys [][]byte, f func(i int, val []byte, found bool) error) error {
	s.sorted += len(keys)
	for i, k := range keys {
		v, found := s.entries[string(k)]
		if err := f(i, []byte(v), found); err != nil {
			return err
		}
	}
	return nil
}

func (s *shelved) Scan(lo, hi []byte, f func(key, value []byte) error) error {
	for _, k := range slices.Sorted(maps.Keys(s.entries)) {
		if k >= string(lo) && k < string(hi) {
			s.read++
			if err := f([]byte(k), []byte(s.entries[k])); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *shelved) apply(d *task.Delta) {
	for _, e := range d.Entries {
		if e.Value == nil {
			delete(s.entries, string(e.Key))
		} else {
			s.entries[string(e.Key)] = string(e.Value)
		}
	}
}

func timersOf(st *shelved, held int64) *timers {
	spec := &task.Spec{KeyGroups: 3}
	spec.MaxHeld.Store(held)
	return newTimers(task.New(spec, 0, nil, st, nil), "timers")
}

// Timers that only the store has, some that it does not have yet, and ones that it still has: what is set, taken back and
// fires is what it would be if all were in memory. Crashes bring back what was applied.
func TestTimersEqualAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st := &shelved{entries: map[string]string{}}
		s := timersOf(st, 0)
		model, applied := map[timer]bool{}, map[timer]bool{}
		type epoch struct {
			*task.Delta
			model map[timer]bool
		}
		var flight []epoch
		epochs := uint64(0)
		clock := func() byte { return byte(rapid.IntRange(0, 1).Draw(t, "clock")) }
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			default:
				x := timer{clock(), rapid.Int64Range(-3, 12).Draw(t, "at"), rapid.SampledFrom([]string{"a", "b", "c", "dd", "ee"}).Draw(t, "key")}
				live := rapid.IntRange(0, 2).Draw(t, "live") > 0
				require.Equal(t, model[x] != live, s.set(x, live))
				if model[x] = live; !live {
					delete(model, x)
				}
			case 5, 6:
				c, before := clock(), rapid.Int64Range(-3, 14).Draw(t, "before")
				var want, got []timer
				for x := range model {
					if x.clock == c && x.at < before {
						want = append(want, x)
						delete(model, x)
					}
				}
				slices.SortFunc(want, func(a, b timer) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.key, b.key)) })
				for x, ok := s.fire(c, before); ok; x, ok = s.fire(c, before) {
					got = append(got, x)
				}
				require.Equal(t, want, got)
			case 7:
				epochs++
				flight = append(flight, epoch{&task.Delta{Epoch: epochs}, maps.Clone(model)})
				s.cut(flight[len(flight)-1].Delta)
			case 8:
				if len(flight) > 0 {
					st.apply(flight[0].Delta)
					applied = flight[0].model
					s.applied(flight[0].Epoch, rapid.SampledFrom([]int{0, 100 * timerSize}).Draw(t, "room"))
					flight = flight[1:]
				}
			case 9:
				flight, model = nil, maps.Clone(applied)
				s = timersOf(st, 0)
				require.NoError(t, s.restore())
			}
			for c := range byte(2) {
				first := int64(math.MaxInt64)
				for x := range model {
					if x.clock == c {
						first = min(first, x.at)
					}
				}
				require.Equal(t, first, s.next(c))
			}
			require.NoError(t, s.task.Err())
		}
	})
}

// Of many timers there are no more in memory than may be, and a restart reads no more.
func TestManyTimersAreInTheStore(t *testing.T) {
	const n, room = 20_000, 5000 * timerSize
	st := &shelved{entries: map[string]string{}}
	s := timersOf(st, 0)
	require.NoError(t, s.restore())
	for i := range int64(n) {
		require.True(t, s.set(timer{eventTimer, i, string([]byte{byte(i), byte(i >> 8)})}, true))
	}
	epoch := uint64(0)
	commit := func() {
		epoch++
		d := &task.Delta{Epoch: epoch}
		s.cut(d)
		st.apply(d)
		s.applied(epoch, room)
	}
	commit()
	assert.LessOrEqual(t, s.held(), room)
	s, st.read = timersOf(st, 1<<30), 0
	require.NoError(t, s.restore())
	require.Zero(t, s.next(eventTimer))
	assert.Less(t, st.read, n)
	for i := range int64(n) {
		x, ok := s.fire(eventTimer, math.MaxInt64)
		require.True(t, ok)
		require.Equal(t, i, x.at)
		if i%200 == 0 {
			commit()
			require.LessOrEqual(t, s.held(), room)
		}
	}
	require.Equal(t, int64(math.MaxInt64), s.next(eventTimer))
}
