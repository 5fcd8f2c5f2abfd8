package stream_test

import (
	"fmt"
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

// aligned reads two topics, in tasks of their own, and hands on what it reads.
func aligned(w stream.Watermark, opts ...source.Option) func(*stream.Topology) {
	return func(topo *stream.Topology) {
		for _, name := range []string{"one", "two"} {
			topo.From(source.Kafka(name, codec.String, opts...)).Watermark(w).To(to(name + "-out"))
		}
	}
}

// pipeAt writes values "a@5" to a partition.
func pipeAt(d *streamtest.Driver, topic string, partition int32, records string) {
	for _, r := range strings.Fields(records) {
		rec := at(r)
		rec.Partition = partition
		d.PipeTo(topic, rec)
	}
}

func passed(d *streamtest.Driver, topic string) string {
	return strings.Join(d.Drain[string](topic), " ")
}

// A topic waits while it is more than Align ahead of the other, and goes on when that has come nearer.
func TestAlign(t *testing.T) {
	w := stream.Watermark{Idle: time.Hour, Align: millis(20)}
	streamtest.EveryWay(t, made(aligned(w)), func(t *testing.T, d *streamtest.Driver) {
		pipeAt(d, "one", 0, "a@0 b@10 c@20 d@30 e@40 f@50 g@60")
		assert.Equal(t, "a", passed(d, "one-out"), "the other may begin anywhere")
		pipeAt(d, "two", 0, "v@0")
		assert.Equal(t, "b c d", passed(d, "one-out"), "at 20 it is not more than 20 ahead, at 30 it is")
		pipeAt(d, "two", 0, "w@9")
		assert.Empty(t, passed(d, "one-out"))
		pipeAt(d, "two", 0, "x@10")
		assert.Equal(t, "e", passed(d, "one-out"))
		pipeAt(d, "two", 0, "y@90 z@90")
		assert.Equal(t, "f g", passed(d, "one-out"))
		assert.Equal(t, "v w x y", passed(d, "two-out"), "now it is the other that waits")
		pipeAt(d, "one", 0, "h@70")
		assert.Equal(t, "z", passed(d, "two-out"))
	}, streamtest.Start(noon))
}

// The partitions of one topic are aligned too, and those of topics without Align are not waited for, and do not wait.
func TestAlignWithinATopic(t *testing.T) {
	build := func(topo *stream.Topology) {
		texts(topo).Watermark(stream.Watermark{Idle: time.Hour, Align: millis(20)}).To(to("out"))
		topo.From(source.Kafka("free", codec.String)).To(to("free-out"))
	}
	d := streamtest.New(t, made(build)(), streamtest.Topic("in", 2), streamtest.Start(noon))
	pipeAt(d, "in", 1, "a@0 b@50 c@60")
	pipeAt(d, "free", 0, "x@0 y@1000 z@2000")
	assert.Equal(t, "a", passed(d, "out"))
	assert.Equal(t, "x y z", passed(d, "free-out"))
	pipeAt(d, "in", 0, "d@5")
	assert.Equal(t, "d b", passed(d, "out"))
	pipeAt(d, "in", 0, "e@30")
	assert.Equal(t, "e c", passed(d, "out"))
}

// One that is idle holds nobody back; one that waits is not idle, and its silence begins when it may be read again.
func TestAlignAndIdle(t *testing.T) {
	w := stream.Watermark{Idle: time.Minute, Align: millis(20)}
	d := streamtest.New(t, made(aligned(w))(), streamtest.Start(noon))
	pipeAt(d, "one", 0, "a@0 b@100")
	pipeAt(d, "two", 0, "v@0")
	assert.Equal(t, "a b", passed(d, "one-out"))
	d.AdvanceWall(30 * time.Second)
	pipeAt(d, "two", 0, "w@1")
	d.AdvanceWall(40 * time.Second)
	assert.Equal(t, ms(100), d.Watermark("one"), "it has been silent for 70 s, but it waits")
	d.AdvanceWall(20 * time.Second)
	assert.Equal(t, time.Time{}, d.Watermark("two"), "it is idle")
	pipeAt(d, "one", 0, "c@200 d@300")
	assert.Equal(t, "c d", passed(d, "one-out"), "nobody else is there")
	d.AdvanceWall(59 * time.Second)
	assert.Equal(t, ms(300), d.Watermark("one"))

	// One that comes back is read at once, however far ahead it is, and waits from then on.
	pipeAt(d, "two", 0, "x@500 y@510")
	assert.Equal(t, "v w x", passed(d, "two-out"))
	d.AdvanceWall(time.Second)
	assert.Equal(t, time.Time{}, d.Watermark("one"), "now this one is idle")
	assert.Equal(t, "y", passed(d, "two-out"))
}

// Of topics that have an end, one that is read to it holds nobody back.
func TestAlignToTheEnd(t *testing.T) {
	d := streamtest.New(t, made(aligned(stream.Watermark{Align: millis(20)}, source.EndAtNow()))(), streamtest.Start(noon))
	pipeAt(d, "one", 0, "a@0 b@100")
	pipeAt(d, "two", 0, "v@1000 w@2000 x@3000")
	assert.Equal(t, "a b", passed(d, "one-out"))
	assert.Equal(t, "v w x", passed(d, "two-out"))
}

// A table that is read to its end before the streams beside it does not wait for them, and waits afterwards.
func TestAlignATable(t *testing.T) {
	w := stream.Watermark{Idle: time.Hour, Align: millis(20)}
	build := func(topo *stream.Topology) {
		rates := topo.Table(source.KafkaKeyed("rates", codec.String, codec.String), "rates").Watermark(w)
		topo.FromKeyed(source.KafkaKeyed("in", codec.String, codec.String)).Watermark(w).
			JoinTable("joined", rates, func(v, rate string) string { return v + rate }).To(to("out"))
	}
	d := streamtest.New(t, made(build)(), streamtest.Start(noon))
	d.PipeTo("rates", streamtest.Record{Key: []byte("k"), Value: []byte("1"), Time: ms(500)})
	d.PipeTo("rates", streamtest.Record{Key: []byte("k"), Value: []byte("2"), Time: ms(600)})
	d.PipeTo("in", streamtest.Record{Key: []byte("k"), Value: []byte("a"), Time: ms(100)})
	d.PipeTo("in", streamtest.Record{Key: []byte("k"), Value: []byte("b"), Time: ms(590)})
	require.NoError(t, d.Err())
	assert.Len(t, d.Drain[string]("out"), 2)
	assert.Equal(t, ms(600), d.Watermark("rates"))
}

// Whatever comes in whatever order, and whatever happens meanwhile: a record is not read while its partition is more than
// Align ahead of another that is not idle; and in the end everything is.
func TestAlignAgreesWithItsRule(t *testing.T) {
	const align = 20
	rapid.Check(t, func(t *rapid.T) {
		newest := map[string]int64{}
		follow := func(name string) func(string) {
			return func(v string) {
				now := at(v).Time.UnixMilli()
				if w, ok := newest[name]; ok {
					for other, least := range newest {
						require.LessOrEqual(t, w, least+align, "%s at %s, %s", name, v, other)
					}
					require.Len(t, newest, 2, "%s goes on, and the other has not begun", name)
				}
				newest[name] = max(now, newest[name])
			}
		}
		topo := stream.New("aligned")
		for _, name := range []string{"one", "two"} {
			topo.From(source.Kafka(name, codec.String)).Peek(follow(name)).
				EventTime(stamped, stream.Watermark{Idle: 24 * time.Hour, Align: millis(align)}).To(to("out"))
		}
		d := streamtest.New(t, topo, append(ways(t), streamtest.Start(noon), streamtest.Batch(rapid.IntRange(1, 20).Draw(t, "batch")))...)
		at, most, n := map[string]int64{}, int64(0), rapid.IntRange(2, 40).Draw(t, "records")
		for i := range n {
			name := rapid.SampledFrom([]string{"one", "two"}).Draw(t, "topic")
			if i < 2 {
				name = []string{"one", "two"}[i]
			}
			at[name] = max(0, at[name]+rapid.Int64Range(-5, 30).Draw(t, "gap"))
			most = max(most, at[name])
			d.PipeTo(name, streamtest.Record{Value: fmt.Appendf(nil, "%d@%d", i, at[name]), Time: noon})
			if rapid.IntRange(0, 5).Draw(t, "restart") == 0 {
				d.Restart()
			}
		}
		for _, name := range []string{"one", "two"} { // the one that is behind comes near enough for all to be read
			for ; at[name] < most-align; n++ {
				at[name] = min(at[name]+align, most)
				d.PipeTo(name, streamtest.Record{Value: fmt.Appendf(nil, "x@%d", at[name]), Time: noon})
			}
		}
		require.Len(t, d.Drain[string]("out"), n)
	})
}

func TestAlignMistakes(t *testing.T) {
	for want, w := range map[string]stream.Watermark{
		`neither Idle nor Proven: a silent partition of source "one" would stop`: {Align: time.Second},
		"Align is -1s: use whole milliseconds":                                   {Align: -time.Second, Idle: time.Second},
		"Align is 1µs: use whole milliseconds":                                   {Align: time.Microsecond, Idle: time.Second},
	} {
		_, err := made(aligned(w))().Build(stream.Config{AppID: "app"})
		require.ErrorContains(t, err, want)
	}
	_, err := made(aligned(stream.Watermark{Align: time.Second}, source.EndAtNow()))().Build(stream.Config{AppID: "app"})
	require.NotContains(t, err.Error(), "Align")
	assert.Contains(t, made(aligned(stream.Watermark{Align: time.Second, Proven: time.Second}))().Describe(stream.Text), "no more than 1s ahead of others")
}

// Old orders are read together with old payments, although there are more of them.
func ExampleWatermark_align() {
	topo := stream.New("history")
	w := stream.Watermark{Idle: time.Minute, Align: time.Hour}
	for _, name := range []string{"orders", "payments"} {
		topo.From(source.Kafka(name, codec.String)).Watermark(w).To(to(name + "-read"))
	}
	d := start(topo)
	put := func(topic string, hours ...int) {
		for _, h := range hours {
			d.PipeTo(topic, streamtest.Record{Value: fmt.Appendf(nil, "%d:00", h), Time: noon.Add(time.Duration(h-12) * time.Hour)})
		}
	}
	put("payments", 1, 2, 3, 4, 5)
	put("orders", 1)
	fmt.Println(d.Drain[string]("payments-read"))
	put("orders", 2)
	fmt.Println(d.Drain[string]("payments-read"))
	// Output:
	// [1:00 2:00 3:00]
	// [4:00]
}
