package operator

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A key is taken once, at the earliest of the times at which it was needed since, and never before.
func TestScheduleEqualsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, model := newSchedule[int](), map[int]int64{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			k, at := rapid.IntRange(0, 6).Draw(t, "key"), rapid.Int64Range(0, 20).Draw(t, "at")
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				s.need(k, at)
				if due, ok := model[k]; !ok || at < due {
					model[k] = at
				}
			case 2:
				s.forget(k)
				delete(model, k)
			case 3:
				for {
					k, ok := s.take(at)
					if !ok {
						break
					}
					require.Contains(t, model, k)
					require.LessOrEqual(t, model[k], at)
					delete(model, k)
				}
				for k, due := range model {
					require.Greater(t, due, at, "key %d", k)
				}
			}
			first := int64(math.MaxInt64)
			for _, due := range model {
				first = min(first, due)
			}
			require.Equal(t, first, s.next())
		}
	})
}
