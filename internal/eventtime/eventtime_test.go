package eventtime_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/internal/eventtime"
)

const none = eventtime.None

func TestMerge(t *testing.T) {
	for name, c := range map[string]struct {
		in   []eventtime.Input
		want int64
		ok   bool
	}{
		"one":                      {[]eventtime.Input{{Watermark: 5}}, 5, true},
		"the smallest":             {[]eventtime.Input{{Watermark: 5}, {Watermark: -3}, {Watermark: 9}}, -3, true},
		"idle ones are left out":   {[]eventtime.Input{{Watermark: 5}, {Watermark: -3, Idle: true}}, 5, true},
		"unknown holds back":       {[]eventtime.Input{{Watermark: 5}, {Watermark: none}}, none, true},
		"unknown and idle doesn't": {[]eventtime.Input{{Watermark: 5}, {Watermark: none, Idle: true}}, 5, true},
		"all idle":                 {[]eventtime.Input{{Watermark: 5, Idle: true}, {Watermark: 7, Idle: true}}, 0, false},
		"nothing":                  {nil, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			var in []*eventtime.Input
			for i := range c.in {
				in = append(in, &c.in[i])
			}
			w, ok := eventtime.Merge(in)
			require.Equal(t, c.ok, ok)
			if ok {
				require.Equal(t, c.want, w)
			}
		})
	}
}

func TestBounded(t *testing.T) {
	b := eventtime.NewBounded(5)
	require.Equal(t, int64(none), b.Watermark(), "nothing seen")
	for _, step := range []struct {
		t, w  int64
		moved bool
	}{{10, 5, true}, {7, 5, false}, {10, 5, false}, {11, 6, true}, {-100, 6, false}, {eventtime.End, eventtime.End - 5, true}} {
		w, moved := b.Observe(step.t)
		require.Equal(t, step.w, w, "after %d", step.t)
		require.Equal(t, step.moved, moved, "after %d", step.t)
	}
}

// At the beginning of time the bound does not wrap around to its end.
func TestBoundedAtTheBeginning(t *testing.T) {
	b := eventtime.NewBounded(1000)
	for _, at := range []int64{math.MinInt64 + 1, math.MinInt64 + 999, math.MinInt64 + 1000, math.MinInt64 + 1001} {
		w, _ := b.Observe(at)
		require.LessOrEqual(t, w, at)
	}
	require.Equal(t, int64(math.MinInt64+1), b.Watermark())
}

// However records come, a watermark is the largest time less the bound, and never falls.
func TestBoundedProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bound := rapid.Int64Range(0, 100).Draw(t, "bound")
		times := rapid.SliceOfN(rapid.Int64Range(-1000, 1000), 1, 50).Draw(t, "times")
		b := eventtime.NewBounded(bound)
		last := b.Watermark()
		for i, at := range times {
			w, moved := b.Observe(at)
			require.Equal(t, slices.Max(times[:i+1])-bound, w)
			require.Equal(t, w, b.Watermark())
			require.Equal(t, w > last, moved)
			require.GreaterOrEqual(t, w, last)
			last = w
		}
	})
}

func TestCarried(t *testing.T) {
	c := eventtime.NewCarried(2)
	require.Equal(t, eventtime.Input{Watermark: none}, c.Input(), "nobody was heard of")
	c.Observe(0, 10, false)
	require.Equal(t, eventtime.Input{Watermark: none}, c.Input(), "task 1 may still send anything")
	c.Observe(1, 7, false)
	require.Equal(t, eventtime.Input{Watermark: 7}, c.Input())
	c.Observe(1, 3, false)
	require.Equal(t, eventtime.Input{Watermark: 7}, c.Input(), "a watermark never falls")
	c.Observe(1, 8, true)
	require.Equal(t, eventtime.Input{Watermark: 10}, c.Input(), "an idle task does not hold it back")
	c.Observe(0, 12, true)
	require.True(t, c.Input().Idle, "all are idle")
	c.Observe(1, 9, false)
	require.Equal(t, eventtime.Input{Watermark: 9}, c.Input(), "one speaks again")
	c.Grow(3, 9)
	require.Equal(t, eventtime.Input{Watermark: 9}, c.Input(), "a task that was added begins at the committed watermark")
	c.Observe(4, 20, false)
	require.Equal(t, eventtime.Input{Watermark: none}, c.Input(), "task 3 exists, and was not heard of")
	c.Observe(-1, 5, false) // damage is ignored
	require.Len(t, c.Tasks, 5)
}

// As long as tasks only move on and nobody goes idle, the merge is the minimum of what they sent last, and never falls.
func TestCarriedProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(t, "tasks")
		c := eventtime.NewCarried(n)
		newest := slices.Repeat([]int64{none}, n)
		last := int64(none)
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			i := rapid.IntRange(0, n-1).Draw(t, "task")
			w := rapid.Int64Range(-50, 50).Draw(t, "watermark")
			newest[i] = max(newest[i], w)
			c.Observe(i, w, false)
			got := c.Input()
			require.False(t, got.Idle)
			require.Equal(t, slices.Min(newest), got.Watermark)
			require.GreaterOrEqual(t, got.Watermark, last)
			last = got.Watermark
		}
	})
}

func TestFloorMod(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at, n := rapid.Int64Range(-1e15, 1e15).Draw(t, "t"), rapid.Int64Range(1, 1e6).Draw(t, "n")
		m := eventtime.FloorMod(at, n)
		require.True(t, m >= 0 && m < n)
		require.Zero(t, (at-m)%n)
	})
	require.Equal(t, int64(9), eventtime.FloorMod(-1, 10))
	require.Equal(t, int64(0), eventtime.FloorMod(-10, 10))
}
