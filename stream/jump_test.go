package stream_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/streamtest"
)

// secondly counts letters in windows of a second.
func secondly(opts ...source.Option) func(topo *stream.Topology) {
	return func(topo *stream.Topology) {
		w := texts(topo, append(opts, source.MaxAhead(-1))...).KeyBy(letter).Window(tumbling(1000, 0)).Count("n")
		w.OnClose(of).To(results("out"))
		w.Late(lateOf).To(results("late"))
	}
}

// pipeTimes pipes a record for each time, in ms after noon.
func pipeTimes(d *streamtest.Driver, times ...int64) {
	for _, at := range times {
		d.PipeTo("in", streamtest.Record{Value: []byte("a"), Time: noon.Add(time.Duration(at) * time.Millisecond)})
	}
}

// A record of the year 2099 makes no other late, and is counted in a window of its own when that time comes.
func TestMaxJump(t *testing.T) {
	const year2099 = 75 * 365 * 24 * 3600 * 1000
	streamtest.EveryWay(t, made(secondly(source.MaxJump(time.Minute, 2))), func(t *testing.T, d *streamtest.Driver) {
		pipeTimes(d, 100, 200, year2099, 300, 900, 1000, 1100)
		got := d.Drain[result]("out")
		require.Len(t, got, 1)
		assert.Equal(t, "4", got[0].Value)
		assert.Equal(t, noon.UnixMilli(), got[0].From)

		// A gap in the stream: time goes on with the third record behind it.
		pipeTimes(d, 600_000, 600_100)
		assert.Empty(t, d.Drain[result]("out"))
		pipeTimes(d, 600_200)
		assert.Len(t, d.Drain[result]("out"), 1)
		assert.Empty(t, d.Drain[result]("late"))

		d.Advance(noon.Add(year2099 * time.Millisecond).Add(time.Hour))
		assert.Len(t, d.Drain[result]("out"), 2)
	}, streamtest.Start(noon))

	d := streamtest.New(t, made(secondly())(), streamtest.Start(noon))
	pipeTimes(d, 100, 200, year2099, 300)
	assert.Len(t, d.Drain[result]("late"), 1, "without it they are late")
}

// Each partition has its own largest time: one that is behind the others does not doubt them.
func TestMaxJumpIsPerPartition(t *testing.T) {
	d := streamtest.New(t, made(secondly(source.MaxJump(time.Minute, 2)))(), streamtest.Start(noon), streamtest.Topic("in", 2))
	for _, at := range []time.Duration{0, time.Second, 2 * time.Second} {
		d.PipeTo("in", streamtest.Record{Partition: 0, Value: []byte("a"), Time: noon.Add(at)})
		d.PipeTo("in", streamtest.Record{Partition: 1, Value: []byte("a"), Time: noon.Add(at + 24*time.Hour)})
	}
	got := d.Drain[result]("out")
	require.Len(t, got, 2)
	assert.Equal(t, "1", got[0].Value)
	assert.Equal(t, noon.Add(2*time.Second), d.Watermark("in"))
}

func TestMaxJumpIsDescribed(t *testing.T) {
	assert.Contains(t, made(secondly(source.MaxJump(time.Minute, 2)))().Describe(stream.Text), "source \"in\": kafka, times more than 1m0s ahead are doubted until 2 others agree")
}

func TestMaxJumpFaults(t *testing.T) {
	for _, c := range []struct {
		most   time.Duration
		others int
	}{{-time.Second, 1}, {time.Microsecond, 1}, {time.Second, 0}, {time.Second, -1}, {time.Second, 65}} {
		topo := stream.New("bad")
		secondly(source.MaxJump(c.most, c.others))(topo)
		_, err := topo.Build(stream.Config{AppID: "app"})
		require.Error(t, err)
		assert.Equal(t, 1, strings.Count(err.Error(), "its MaxJump is "+c.most.String()))
	}
}
