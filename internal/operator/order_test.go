package operator

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// What has one time and one key stays in the order in which it was.
func TestArrange(t *testing.T) {
	type element struct {
		time int64
		key  string
		was  int
	}
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 100 {
		var r ranks
		list := make([]element, n%40)
		for i := range list {
			list[i] = element{random.Int64N(4), string(rune('a' + random.IntN(4))), i}
			r.add(list[i].time, []byte(list[i].key))
		}
		want := slices.Clone(list)
		slices.SortStableFunc(want, func(a, b element) int { return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.key, b.key)) })
		arrange(list, r)
		require.Equal(t, want, list)
	}
}
