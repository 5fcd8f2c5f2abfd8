package stream_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/stream/streamtest"
)

// Whatever happens to the process: timers fire once, in the order of their times and then of their keys, as soon as the
// watermark is beyond them, before later records, and not if they were taken back.
func TestTimersModel(t *testing.T) {
	type timer struct {
		at  int64
		key string
	}
	rapid.Check(t, func(t *rapid.T) {
		d := streamtest.New(t, made(scripted)(), ways(t)...)
		var want []string
		w, now := int64(noTime), int64(0)
		timers, state := map[timer]bool{}, map[string]int{}
		advance := func(to int64) {
			if to <= w {
				return
			}
			w = to
			var due []timer
			for tm := range timers {
				if tm.at < w {
					due = append(due, tm)
					delete(timers, tm)
				}
			}
			slices.SortFunc(due, func(a, b timer) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.key, b.key)) })
			for _, tm := range due {
				want = append(want, fmt.Sprintf("%s event %d %d", tm.key, tm.at, state[tm.key]))
			}
		}
		var records []string
		for range rapid.IntRange(1, 25).Draw(t, "records") {
			now += rapid.Int64Range(-6, 8).Draw(t, "step")
			key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")
			tm := timer{now + rapid.Int64Range(-4, 15).Draw(t, "in"), key}
			do := rapid.SampledFrom([]string{"set", "set", "clear", "forget", "x"}).Draw(t, "do")
			state[key]++
			switch do {
			case "set":
				timers[tm] = true
				do = fmt.Sprintf("set@%d", tm.at)
			case "clear":
				for _, x := range slices.SortedFunc(maps.Keys(timers), func(a, b timer) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.key, b.key)) }) {
					if x.key == key { // one that is there
						tm = x
					}
				}
				delete(timers, tm)
				do = fmt.Sprintf("clear@%d", tm.at)
			case "forget":
				state[key] = 0
			}
			records = append(records, fmt.Sprintf("%s:%s at %d", key, do, now))
			d.PipeTo("in", streamtest.Record{Value: []byte(key + ":" + do), Time: ms(now)})
			advance(now)
			happen(t, d)
		}
		d.Advance(ms(1000))
		advance(1000)
		require.Equal(t, want, append([]string(nil), d.Drain[string]("out")...), "records %v", records)
	})
}
