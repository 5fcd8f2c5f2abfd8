package window_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/window"
)

// starts are the windows of a time as the operator enumerates them.
func starts(a window.Alignment, t int64) (list []int64) {
	for s := a.First(t); s <= a.Last(t); s += a.Advance {
		list = append(list, s)
	}
	return list
}

// naive tries every window that begins near t.
func naive(a window.Alignment, t int64) (list []int64) {
	for n := (t-a.Size-a.Offset)/a.Advance - 2; n <= (t-a.Offset)/a.Advance+2; n++ {
		if s := n*a.Advance + a.Offset; s <= t && t < s+a.Size {
			list = append(list, s)
		}
	}
	return list
}

func TestAlignmentTable(t *testing.T) {
	for name, c := range map[string]struct {
		a    window.Alignment
		t    int64
		want []int64
	}{
		"inside":              {window.Alignment{Size: 10, Advance: 10}, 13, []int64{10}},
		"start is in":         {window.Alignment{Size: 10, Advance: 10}, 10, []int64{10}},
		"end is in the next":  {window.Alignment{Size: 10, Advance: 10}, 20, []int64{20}},
		"last instant":        {window.Alignment{Size: 10, Advance: 10}, 19, []int64{10}},
		"zero":                {window.Alignment{Size: 10, Advance: 10}, 0, []int64{0}},
		"before 1970":         {window.Alignment{Size: 10, Advance: 10}, -1, []int64{-10}},
		"start before 1970":   {window.Alignment{Size: 10, Advance: 10}, -10, []int64{-10}},
		"offset":              {window.Alignment{Size: 10, Advance: 10, Offset: 3}, 12, []int64{3}},
		"offset, start":       {window.Alignment{Size: 10, Advance: 10, Offset: 3}, 13, []int64{13}},
		"negative offset":     {window.Alignment{Size: 10, Advance: 10, Offset: -3}, 6, []int64{-3}},
		"offset over size":    {window.Alignment{Size: 10, Advance: 10, Offset: 23}, 12, []int64{3}},
		"hopping":             {window.Alignment{Size: 10, Advance: 5}, 12, []int64{5, 10}},
		"hopping, start":      {window.Alignment{Size: 10, Advance: 5}, 10, []int64{5, 10}},
		"hopping before 1970": {window.Alignment{Size: 10, Advance: 5}, -1, []int64{-10, -5}},
		"not whole, more":     {window.Alignment{Size: 10, Advance: 4}, 9, []int64{0, 4, 8}},
		"not whole, fewer":    {window.Alignment{Size: 10, Advance: 4}, 11, []int64{4, 8}},
		"advance is size":     {window.Alignment{Size: 10, Advance: 10}, 12, []int64{10}},
		"hopping with offset": {window.Alignment{Size: 10, Advance: 5, Offset: 1}, 10, []int64{1, 6}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, starts(c.a, c.t))
		})
	}
}

// The arithmetic agrees with trying every window, at any time, offset and overlap.
func TestAlignmentAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 1000).Draw(t, "size")
		a := window.Alignment{Size: size, Advance: rapid.Int64Range(1, size).Draw(t, "advance"), Offset: rapid.Int64Range(-3000, 3000).Draw(t, "offset")}
		at := rapid.Int64Range(-5000, 5000).Draw(t, "time")
		got := starts(a, at)
		require.Equal(t, naive(a, at), got)
		require.NotEmpty(t, got, "no time is in no window")
		n := int64(len(got))
		require.True(t, n == size/a.Advance || n == (size+a.Advance-1)/a.Advance, "%d windows", n)
	})
}

// Far from 1970 in both directions, as far as time.Time goes.
func TestAlignmentFarAway(t *testing.T) {
	a := window.Hopping{Size: time.Hour, Advance: time.Minute}.Alignment()
	for _, at := range []int64{time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC).UnixMilli(), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).UnixMilli(), math.MinInt64 / 2, math.MaxInt64 / 2} {
		require.Len(t, starts(a, at), 60)
		require.LessOrEqual(t, a.Last(at), at)
		require.Greater(t, a.Last(at)+a.Advance, at)
	}
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		w    window.Window
		want []string // nothing: it is right
	}{
		"tumbling":            {window.Tumbling{Size: time.Second}, nil},
		"all set":             {window.Hopping{Size: time.Hour, Advance: time.Minute, Offset: -time.Hour, Grace: time.Second}, nil},
		"no size":             {window.Tumbling{}, []string{"Size is 0s: it must be at least 1ms"}},
		"negative size":       {window.Tumbling{Size: -time.Second}, []string{"Size is -1s"}},
		"microseconds":        {window.Tumbling{Size: 1500 * time.Microsecond}, []string{"Size is 1.5ms: event time has whole milliseconds"}},
		"less than a ms":      {window.Tumbling{Size: time.Microsecond}, []string{"whole milliseconds"}},
		"grace":               {window.Tumbling{Size: time.Second, Grace: -time.Second}, []string{"Grace is -1s: it must not be negative"}},
		"offset":              {window.Tumbling{Size: time.Second, Offset: 1}, []string{"Offset is 1ns"}},
		"no advance":          {window.Hopping{Size: time.Second}, []string{"Advance is 0s: it must be at least 1ms"}},
		"gaps":                {window.Hopping{Size: time.Second, Advance: time.Minute}, []string{"records between two windows would be in none"}},
		"everything is wrong": {window.Hopping{Size: -1, Advance: 1, Offset: 1, Grace: -1}, []string{"Size", "Advance", "Offset", "Grace"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.w.Check()
			if c.want == nil {
				require.NoError(t, err)
				return
			}
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

// The strings are stored with the state: another one means other windows. The grace period is not among them.
func TestString(t *testing.T) {
	for want, w := range map[string]window.Window{
		"tumbling 10s":            window.Tumbling{Size: 10 * time.Second, Grace: time.Minute},
		"tumbling 24h0m0s+1h0m0s": window.Tumbling{Size: 24 * time.Hour, Offset: time.Hour},
		"hopping 1h0m0s/1m0s":     window.Hopping{Size: time.Hour, Advance: time.Minute},
		"hopping 1h0m0s/1m0s+-1s": window.Hopping{Size: time.Hour, Advance: time.Minute, Offset: -time.Second},
	} {
		require.Equal(t, want, w.String())
	}
}

func TestSpan(t *testing.T) {
	s := window.Span{From: -1, To: 1500}
	require.Equal(t, time.Date(1969, 12, 31, 23, 59, 59, 999e6, time.UTC), s.Start())
	require.Equal(t, time.Date(1970, 1, 1, 0, 0, 1, 500e6, time.UTC), s.End())
	require.Equal(t, "[1969-12-31T23:59:59.999Z, 1970-01-01T00:00:01.5Z)", s.String())
}
