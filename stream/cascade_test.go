package stream_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

// A window behind the results of another, such as a total over all keys, does not take them for late, although they come
// only when the first one's grace period is over; in the same task, and behind a repartition.
func TestCascade(t *testing.T) {
	second := func(n int) time.Time { return time.UnixMilli(int64(n) * 1000) }
	topology := func() *stream.Topology {
		topo := stream.New("cascade")
		perKey := topo.From(source.Kafka("in", codec.String)).
			KeyBy(func(s string) string { return s }).
			Window(window.Tumbling{Size: 10 * time.Second, Grace: 5 * time.Second}).
			Count("per-key")
		total := perKey.OnClose(func(_ string, _ window.Span, n int64) int64 { return n }).
			KeyBy(func(int64) string { return "all" }).
			Window(window.Tumbling{Size: 10 * time.Second}).
			Fold("total", func(sum *int64, n int64) { *sum += n })
		total.OnClose(func(_ string, _ window.Span, n int64) int64 { return n }).To(sink.Kafka("totals", codec.Int64))
		total.Late(func(_ string, l stream.LateRecord[int64]) int64 { return l.Value }).To(sink.Kafka("late", codec.Int64))
		return topo
	}
	streamtest.EveryWay(t, topology, func(t *testing.T, d *streamtest.Driver) {
		d.Pipe("in", second(1), "a", "b", "a")
		d.Pipe("in", second(12), "a")
		d.Pipe("in", second(8), "c") // within the grace period
		assert.Empty(t, d.Drain[int64]("totals"))
		d.Advance(second(40))
		assert.Equal(t, []int64{4, 1}, d.Drain[int64]("totals"))
		assert.Empty(t, d.Drain[int64]("late"))
	})
}
