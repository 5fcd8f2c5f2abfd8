package keysort

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func sorted(keys [][]byte) []int32 {
	want := make([]int32, len(keys))
	for i := range want {
		want[i] = int32(i)
	}
	slices.SortStableFunc(want, func(a, b int32) int { return bytes.Compare(keys[a], keys[b]) })
	return want
}

func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prefix := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "prefix")
		letter := rapid.SampledFrom([]byte{0, 1, 255})
		n := rapid.SampledFrom([]int{0, 1, 5, byWords, 50, byBytes, 600}).Draw(t, "keys")
		longest := rapid.SampledFrom([]int{0, 3, 8, 9, 20}).Draw(t, "longest")
		least := rapid.SampledFrom([]int{0, longest}).Draw(t, "shortest")
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		letters := []byte{letter.Draw(t, "a"), letter.Draw(t, "b"), 7}
		keys := make([][]byte, n)
		for i := range keys {
			k := slices.Clone(prefix)
			for range least + random.IntN(longest-least+1) {
				k = append(k, letters[random.IntN(3)])
			}
			keys[i] = k
		}
		require.Equal(t, sorted(keys), Order(n, func(i int) []byte { return keys[i] }))
	})
}

func TestByTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.SliceOfN(rapid.SampledFrom([]int64{-1 << 63, -1, 0, 1, 256, 1<<63 - 1, rapid.Int64().Draw(t, "time")}), 0, 400).Draw(t, "times")
		places := make([]int32, len(times))
		for i := range places {
			places[i] = int32(len(times) - 1 - i)
		}
		want := slices.Clone(places)
		slices.SortStableFunc(want, func(a, b int32) int {
			switch {
			case times[a] < times[b]:
				return -1
			case times[a] > times[b]:
				return 1
			}
			return 0
		})
		ByTime(places, func(i int) int64 { return times[i] })
		require.Equal(t, want, places)
	})
}

// Keys of 20,000 rows of a store, each with two numbers of which the first is often the same.
func BenchmarkOrder(b *testing.B) {
	const n = 20_000
	keys := make([][]byte, n)
	random := rand.New(rand.NewPCG(1, 1))
	for i := range keys {
		k := append([]byte("store group "), 0)
		first := uint64(1000)
		if random.IntN(4) == 0 {
			first += random.Uint64N(1000)
		}
		keys[i] = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(k, first), random.Uint64N(1_000_000))
	}
	for b.Loop() {
		Order(n, func(i int) []byte { return keys[i] })
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/key")
}
