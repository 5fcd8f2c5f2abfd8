package task

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The bounds of the paper hold for any sequence of hashes, also when counts age.
func TestSpaceSavingIsWithinItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s spaceSaving
		exact, total := map[uint32]float64{}, 0.0
		keys := rapid.Uint32Range(1, 200).Draw(t, "keys")
		skew := rapid.Uint32Range(0, 4).Draw(t, "skew")
		for _, x := range rapid.SliceOfN(rapid.Uint32Range(0, 1<<30), 0, 600).Draw(t, "sequence") {
			if x < 1<<23 { // one of 128
				s.age()
				total /= 2
				for k := range exact {
					exact[k] /= 2
				}
				continue
			}
			hash := x % keys
			for i := range skew {
				hash = min(hash, x>>(4+i)%keys) // small ones are frequent
			}
			s.add(hash)
			exact[hash]++
			total++
		}
		const rounding = 1e-9
		sum, least := 0.0, s.counts[0]
		held := map[uint32]bool{}
		for i, n := range s.counts {
			sum, least = sum+n, min(least, n)
			if n == 0 {
				continue
			}
			hash := s.hashes[i]
			require.False(t, held[hash], "%d has two counters", hash)
			held[hash] = true
			require.LessOrEqual(t, exact[hash], n+rounding, "count of %d", hash)
			require.LessOrEqual(t, n-s.over[i], exact[hash]+rounding, "count of %d less what may be others'", hash)
			require.LessOrEqual(t, s.over[i], total/float64(len(s.counts))+rounding)
		}
		require.InDelta(t, total, s.total, rounding)
		require.InDelta(t, total, sum, rounding)
		for hash, n := range exact {
			if !held[hash] {
				require.LessOrEqual(t, n, least+rounding, "%d has no counter", hash)
			}
		}
	})
}

// Shares are right to within what Top says, for many keys, few, and one; and they follow the stream.
func TestHotKeys(t *testing.T) {
	key := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	for name, c := range map[string]struct {
		next func(r *rand.Rand, i int) uint64
		want []float64 // of keys 0, 1, …
	}{
		"one":     {func(*rand.Rand, int) uint64 { return 0 }, []float64{1}},
		"uniform": {func(r *rand.Rand, _ int) uint64 { return r.Uint64N(1 << 40) }, nil},
		"in turn": {func(_ *rand.Rand, i int) uint64 { return uint64(i % 64) }, nil}, // what a step of 64 would take for one key
		"half": {func(r *rand.Rand, _ int) uint64 {
			if r.IntN(2) == 0 {
				return 0
			}
			return 1 + r.Uint64N(1<<40)
		}, []float64{0.5}},
		"Zipf": {zipf(), []float64{0.385, 0.136}},
		"another one later": {func(_ *rand.Rand, i int) uint64 {
			if i < 500_000 {
				return 7
			}
			return 0
		}, []float64{1}},
	} {
		t.Run(name, func(t *testing.T) {
			var h HotKeys
			aged := 0
			h.Aged = func() { aged++ }
			r := rand.New(rand.NewPCG(1, 2))
			h.See(key(0))
			require.Empty(t, h.Top(3), "of one record nothing is said")
			for i := range 1_000_000 {
				h.See(key(c.next(r, i)))
			}
			top := h.Top(3)
			require.NotEmpty(t, top)
			for i, want := range c.want {
				assert.Equal(t, Murmur2(key(uint64(i))), top[i].Hash, "key %d", i)
				assert.InDelta(t, want, top[i].Share, 0.06, "key %d", i)
			}
			if c.want == nil {
				assert.Less(t, top[0].Share, 0.05)
			}
			assert.InDelta(t, 1_000_000/hotEvery/(hotSpan/2), aged, 3)
		})
	}
}

// zipf draws keys from Zipf's distribution with the exponent 1.5.
func zipf() func(r *rand.Rand, _ int) uint64 {
	var z *rand.Zipf
	return func(r *rand.Rand, _ int) uint64 {
		if z == nil {
			z = rand.NewZipf(r, 1.5, 1, 9_999)
		}
		return z.Uint64()
	}
}

func TestHotKeysAllocateNothing(t *testing.T) {
	var h HotKeys
	key := []byte("customer-4711")
	assert.Zero(t, testing.AllocsPerRun(100_000, func() { h.See(key) }))
}

func BenchmarkHotKeys(b *testing.B) {
	for _, keys := range []int{1, 10_000} {
		list := make([][]byte, 1<<14)
		for i := range list {
			list[i] = fmt.Appendf(nil, "user-%05d", rand.IntN(keys))
		}
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			var h HotKeys
			for i := range b.N { // b.Loop costs more than what is measured
				h.See(list[i&(1<<14-1)])
			}
		})
	}
}
