package stream_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
)

// idOf is what stands between the colon and the slash.
func idOf(s string) string {
	_, id, _ := strings.Cut(s, ":")
	id, _, _ = strings.Cut(id, "/")
	return id
}

func deduplicating(horizon, bound int64, read func(*stream.Topology, string, time.Duration) stream.Keyed[string, string]) func() *stream.Topology {
	return func() *stream.Topology {
		topo := stream.New("dedup")
		u := read(topo, "in", duration(bound)).Deduplicate("seen", idOf, duration(horizon))
		u.To(sink.Kafka("out", codec.String))
		u.Late(lateValue).To(sink.Kafka("late", codec.String))
		return topo
	}
}

func TestDeduplicate(t *testing.T) {
	streamtest.EveryWay(t, deduplicating(100, 0, rekeyed), func(t *testing.T, d *streamtest.Driver) {
		put(d, "in", "a:1/first@1000 a:1/second@1000 b:1/other@1000 a:2/other@1000 a:1/end@1100 a:1/over@1101 a:1/again@1102")
		assert.Equal(t, []string{"a:1/first", "b:1/other", "a:2/other", "a:1/over"}, values(drained(d, "out")))
		put(d, "in", "a:3/disorder@1050 a:3/earlier@1020 b:1/late@1001 a:9/late@1001")
		assert.Equal(t, []string{"a:3/disorder"}, values(drained(d, "out")))
		assert.Equal(t, []string{"b:1/late@1001<1102", "a:9/late@1001<1102"}, values(drained(d, "late")))
	})
}

func TestDeduplicateAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		horizon := rapid.SampledFrom([]int64{1, 10, 5000}).Draw(t, "horizon")
		bound := rapid.SampledFrom([]int64{0, 20}).Draw(t, "bound")
		scale := max(1, horizon/5)
		d := streamtest.New(t, deduplicating(horizon, bound, direct)(), anyWay(t)...)
		passed := map[string][]int64{}
		seen, now := none, int64(0)
		var out, late, gotOut, gotLate []string
		for i := range rapid.IntRange(5, 40).Draw(t, "records") {
			disturb(t, d)
			now += rapid.Int64Range(0, 3).Draw(t, "step") * scale
			at := now - rapid.Int64Range(0, 8).Draw(t, "back")*scale
			id := rapid.SampledFrom([]string{"a:1", "a:2", "b:1", "a1:", "a:"}).Draw(t, "id")
			value := fmt.Sprintf("%s/%d", id, i)
			w := seen - bound
			duplicate := false
			for _, first := range passed[id] {
				duplicate = duplicate || max(at-first, first-at) <= horizon && w <= first+horizon
			}
			switch {
			case at < w-horizon:
				late = append(late, fmt.Sprintf("%s@%d<%d", value, at, w))
			case !duplicate:
				out = append(out, value)
				passed[id] = append(passed[id], at)
			}
			seen = max(seen, at)
			put(d, "in", fmt.Sprintf("%s@%d", value, at))
			gotOut, gotLate = append(gotOut, values(drained(d, "out"))...), append(gotLate, values(drained(d, "late"))...)
			require.Equal(t, out, gotOut)
			require.Equal(t, late, gotLate)
		}
	})
}
