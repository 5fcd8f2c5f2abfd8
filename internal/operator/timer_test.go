package operator

import (
	"cmp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Timers come in the order of time and key, whatever the order in which they were set, also between others that are set.
func TestTimerHeapSorts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h timerHeap
		var left []timer
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			if len(left) > 0 && rapid.IntRange(0, 2).Draw(t, "take") == 0 {
				first := slices.MinFunc(left, func(a, b timer) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.key, b.key)) })
				require.Equal(t, first, h[0])
				require.Equal(t, first, h.pop())
				left = slices.Delete(left, slices.Index(left, first), slices.Index(left, first)+1)
				continue
			}
			x := timer{at: rapid.Int64Range(-3, 3).Draw(t, "at"), key: rapid.StringN(0, 2, 2).Draw(t, "key")}
			h.push(x)
			left = append(left, x)
		}
		require.Len(t, h, len(left))
	})
}
