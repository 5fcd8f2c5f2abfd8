package operator

import (
	"cmp"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is due comes in the order of time and element, whatever the order in which it was put in, also between others that
// are put in.
func FuzzQueueSorts(f *testing.F) {
	f.Add([]byte("a2c0b3d2e9a1?!?b?"))
	f.Fuzz(func(t *testing.T, steps []byte) {
		type due struct {
			at int64
			of string
		}
		q, left := queue[string]{before: byKey}, []due{}
		for len(steps) > 1 {
			if steps[0]%3 == 0 && len(left) > 0 {
				first := slices.MinFunc(left, func(a, b due) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.of, b.of)) })
				require.Equal(t, first, due{q.next(), q.pop()})
				i := slices.Index(left, first)
				left, steps = slices.Delete(left, i, i+1), steps[1:]
				continue
			}
			x := due{int64(steps[0] % 8), string(steps[1:2])}
			q.push(x.at, x.of)
			left, steps = append(left, x), steps[2:]
		}
		require.Len(t, q.list, len(left))
		if len(left) == 0 {
			require.Equal(t, int64(math.MaxInt64), q.next())
		}
	})
}
