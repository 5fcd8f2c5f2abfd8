package stream_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
)

func asOf(history, bound int64, read func(*stream.Topology, string, time.Duration) stream.Keyed[string, string]) func() *stream.Topology {
	return func() *stream.Topology {
		topo := stream.New("asof")
		rows := topo.VersionedTable(source.KafkaKeyed("rows", codec.String, codec.String), "versions", duration(history)).
			Watermark(stream.Watermark{OutOfOrder: duration(bound)})
		j := read(topo, "in", duration(bound)).LeftJoinAsOf("j", rows, func(s string, r *string) string { return s + "+" + show(r) })
		j.To(strs("out"))
		j.Late(lateValue).To(strs("late"))
		return topo
	}
}

// A record gets the row as it was at its time, also if that was read later.
func TestJoinAsOf(t *testing.T) {
	streamtest.EveryWay(t, asOf(20, 5, rekeyed), func(t *testing.T, d *streamtest.Driver) {
		set(d, "rows", "a:v1@10 a:v2@20")
		put(d, "in", "a:s@15 b:s@16 a:t@10 a:u@9")
		assert.Equal(t, []string{"a:t+a:v1@10", "a:u+-@9"}, drained(d, "out"), "behind the watermark of 11")
		set(d, "rows", "a:v1b@14 b:w@17")
		put(d, "in", "a:x@30")
		assert.Empty(t, drained(d, "out"), "the table's watermark is 15")
		set(d, "rows", "a@31")
		assert.Equal(t, []string{"a:s+a:v1b@15", "b:s+-@16"}, drained(d, "out"))
		put(d, "in", "a:y@40 b:y@41")
		set(d, "rows", "c:0@50")
		assert.Equal(t, []string{"a:x+a:v2@30"}, drained(d, "out"))
		put(d, "in", "c:0@60")
		assert.Equal(t, []string{"a:y+-@40", "b:y+b:w@41"}, drained(d, "out"))
		put(d, "in", "a:late@31 a:later@25 a:latest@24")
		assert.Equal(t, []string{"a:late+-@31", "a:later+a:v2@25"}, drained(d, "out"))
		assert.Equal(t, []string{"a:latest@24<45"}, values(drained(d, "late")))
		set(d, "rows", "a:old@24")
	})
}

// The order in which stream and table are read makes no difference.
func TestJoinAsOfAgainstModel(t *testing.T) {
	type version struct {
		time  int64
		value string
	}
	rapid.Check(t, func(t *rapid.T) {
		bound := rapid.SampledFrom([]int64{0, 10, 30}).Draw(t, "bound")
		history := rapid.SampledFrom([]int64{0, 20, 100}).Draw(t, "history")
		scale := rapid.SampledFrom([]int64{1, 900}).Draw(t, "scale")
		bound, history = bound*scale, history*scale
		d := streamtest.New(t, asOf(history, bound, direct)(), anyWay(t)...)
		versions := map[string][]version{}
		seen := map[string]int64{"in": none, "rows": none}
		now := int64(0)
		var got, want, late, gotLate []string
		waiting := map[string]version{} // by value
		w := func() int64 { return min(seen["in"], seen["rows"]) - bound }
		row := func(k string, t int64) string {
			best := version{none, "-"}
			for _, v := range versions[k] {
				if v.time <= t && v.time >= best.time {
					best = v
				}
			}
			return best.value
		}
		release := func() {
			for v, r := range waiting {
				if w() > r.time {
					want = append(want, fmt.Sprintf("%s+%s@%d", v, row(prefix(v), r.time), r.time))
					delete(waiting, v)
				}
			}
		}
		for i := range rapid.IntRange(5, 40).Draw(t, "records") {
			disturb(t, d)
			now += rapid.Int64Range(0, 6).Draw(t, "step") * scale
			at := now - rapid.Int64Range(0, 25).Draw(t, "back")*scale
			k := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
			v := fmt.Sprintf("%s:%d", k, i)
			topic := rapid.SampledFrom([]string{"in", "rows"}).Draw(t, "topic")
			switch {
			case at < w()-history: // late
				if topic == "in" {
					late = append(late, fmt.Sprintf("%s@%d<%d", v, at, w()))
				}
			case topic == "rows":
				value := v
				if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
					value = "-"
				}
				versions[k] = append(versions[k], version{at, value})
				if value == "-" {
					set(d, "rows", fmt.Sprintf("%s@%d", k, at))
				}
			default:
				if w() > at {
					want = append(want, fmt.Sprintf("%s+%s@%d", v, row(k, at), at))
				} else {
					waiting[v] = version{time: at}
				}
			}
			if n := len(versions[k]); topic == "in" || n == 0 || versions[k][n-1] != (version{at, "-"}) || at < w()-history {
				put(d, topic, fmt.Sprintf("%s@%d", v, at))
			}
			seen[topic] = max(seen[topic], at)
			release()
			got, gotLate = append(got, drained(d, "out")...), append(gotLate, values(drained(d, "late"))...)
			require.ElementsMatch(t, want, got)
			require.Equal(t, late, gotLate)
		}
		d.Advance(ms(now + 1_000_000))
		seen = map[string]int64{"in": now + 1_000_000, "rows": now + 1_000_000}
		release()
		rest := drained(d, "out")
		require.ElementsMatch(t, want, append(got, rest...))
		require.True(t, slices.IsSortedFunc(rest, func(a, b string) int { return int(timeOf(a) - timeOf(b)) }), "%v", rest)
	})
}

func timeOf(s string) (n int64) {
	fmt.Sscan(s[strings.LastIndex(s, "@")+1:], &n)
	return n
}
