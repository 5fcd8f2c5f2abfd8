package stream_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
)

// stamped reads values such as "a@5", whose event time is in the value.
func stamped(s string) time.Time { return at(s).Time }

// pipeTo writes values to a partition; their times are in the values only.
func pipeTo(d *streamtest.Driver, topic string, partition int32, values string) {
	for _, v := range strings.Fields(values) {
		d.PipeTo(topic, streamtest.Record{Partition: partition, Value: []byte(v), Time: d.Now()})
	}
}

func TestWatermark(t *testing.T) {
	type step struct {
		partition int32
		in        string
		want      int64 // watermark of the topic, in ms; 0: none
	}
	for name, c := range map[string]struct {
		bound      time.Duration
		partitions int
		steps      []step
	}{
		"largest time":               {0, 1, []step{{0, "a@5", 5}, {0, "a@3", 5}, {0, "a@9", 9}}},
		"less the bound":             {3 * time.Millisecond, 1, []step{{0, "a@5", 2}, {0, "a@3", 2}, {0, "a@9", 6}}},
		"before 1970":                {0, 1, []step{{0, "a@-9", -9}, {0, "a@-3", -3}}},
		"smallest of the partitions": {0, 2, []step{{0, "a@5", 0}, {1, "a@3", 3}, {1, "a@9", 5}, {0, "a@20", 9}}},
	} {
		t.Run(name, func(t *testing.T) {
			build := func(topo *stream.Topology) {
				texts(topo).EventTime(stamped, stream.Watermark{OutOfOrder: c.bound}).To(to("out"))
			}
			streamtest.EveryWay(t, made(build), func(t *testing.T, d *streamtest.Driver) {
				for _, s := range c.steps {
					pipeTo(d, "in", s.partition, s.in)
					want := ms(s.want)
					if s.want == 0 {
						want = time.Time{}
					}
					assert.Equal(t, want, d.Watermark("in"), "after %v", s)
				}
			}, streamtest.Partitions(c.partitions), streamtest.Start(noon))
		})
	}
	t.Run("of the broker's times", func(t *testing.T) {
		streamtest.EveryWay(t, made(func(topo *stream.Topology) { texts(topo).To(to("out")) }), func(t *testing.T, d *streamtest.Driver) {
			for _, n := range []int64{5, 3, 9} {
				d.PipeTo("in", streamtest.Record{Value: []byte("a@1000"), Time: ms(n)})
			}
			assert.Equal(t, ms(9), d.Watermark("in"))
		})
	})
}

// The time that a value says is the record's from then on.
func TestEventTime(t *testing.T) {
	build := func(topo *stream.Topology) {
		texts(topo).EventTime(stamped, stream.Watermark{}).Map(upper).To(to("out"))
		topo.FromKeyed(source.KafkaKeyed("keyed", codec.String, codec.String)).EventTime(stamped, stream.Watermark{}).To(to("out"))
	}
	streamtest.EveryWay(t, made(build), func(t *testing.T, d *streamtest.Driver) {
		d.Pipe("in", noon, "a@7")
		d.PipeKeyed("keyed", "k", noon, "b@8")
		var times []int64
		for _, r := range d.Records("out") {
			times = append(times, r.Time.UnixMilli())
		}
		assert.ElementsMatch(t, []int64{7, 8}, times)
	})
}

// counted counts letters in windows of a keyed topic, whose partitions become idle.
func counted(idle time.Duration) func(topo *stream.Topology) {
	return func(topo *stream.Topology) {
		topo.FromKeyed(source.KafkaKeyed("in", codec.String, codec.String)).Watermark(stream.Watermark{Idle: idle}).
			Window(tumbling(10, 0)).Count("n").OnClose(of).To(results("closes"))
	}
}

// A silent partition holds the watermark behind a repartition back until it is idle. When it speaks again, it counts
// again, but cannot take the watermark back.
func TestIdlePartitions(t *testing.T) {
	build := func(topo *stream.Topology) {
		a := texts(topo).Watermark(stream.Watermark{Idle: time.Minute}).KeyBy(letter).Window(tumbling(10, 0)).Count("n")
		a.OnClose(of).To(results("closes"))
		a.Late(lateOf).To(results("late"))
	}
	in := func(d *streamtest.Driver, partition int32, r string) {
		rec := at(r)
		rec.Partition = partition
		d.PipeTo("in", rec)
	}
	for _, opts := range [][]streamtest.Option{nil, {streamtest.Exchange(stream.InMemory)}, {streamtest.CacheSize(0), streamtest.Overlap(), streamtest.CommitEvery(1)}} {
		d := streamtest.New(t, made(build)(), append(opts, streamtest.Topic("in", 2), streamtest.Start(noon))...)
		in(d, 0, "a@5")
		in(d, 0, "b@25")
		d.AdvanceWall(59 * time.Second)
		assert.Empty(t, d.Drain[result]("closes"), "partition 1 may still have earlier records")
		assert.Equal(t, time.Time{}, d.Watermark("in"))
		in(d, 0, "b@26")
		d.AdvanceWall(time.Second)
		assert.Equal(t, "a[0,10)=1", closed(d.Drain[result]("closes")), "partition 1 has been silent for a minute")
		assert.Equal(t, ms(26), d.Watermark("in"))
		in(d, 1, "a@7")
		assert.Equal(t, "a[0,10)=a", closed(d.Drain[result]("late")))
		in(d, 0, "c@35")
		assert.Empty(t, d.Drain[result]("closes"), "partition 1 counts again, and is at 7")
		in(d, 1, "d@33")
		assert.Equal(t, "b[20,30)=2", closed(d.Drain[result]("closes")))
	}
}

// All partitions idle: time stands still, and nothing closes.
func TestAllIdle(t *testing.T) {
	streamtest.EveryWay(t, made(counted(time.Minute)), func(t *testing.T, d *streamtest.Driver) {
		d.PipeKeyed("in", "a", ms(5), "a")
		d.AdvanceWall(time.Hour)
		assert.Empty(t, d.Drain[result]("closes"))
		d.PipeTo("in", streamtest.Record{Key: []byte("a"), Value: []byte("a"), Time: ms(10)})
		assert.Equal(t, "a[0,10)=1", closed(d.Drain[result]("closes")))
	})
}

// Without Idle, a silent partition holds back what is behind a repartition for ever.
func TestNeverIdle(t *testing.T) {
	build := func(topo *stream.Topology) {
		texts(topo).KeyBy(letter).Window(tumbling(10, 0)).Count("n").OnClose(of).To(results("closes"))
	}
	d := streamtest.New(t, made(build)(), streamtest.Topic("in", 2))
	d.PipeTo("in", at("a@5"))
	d.PipeTo("in", at("a@50"))
	d.AdvanceWall(1000 * time.Hour)
	assert.Empty(t, d.Drain[result]("closes"))
	d.Advance(ms(50))
	assert.Equal(t, "a[0,10)=1", closed(d.Drain[result]("closes")), "both partitions have got there")
}

// A merge of two sources reads the earlier record first, where both have one.
func TestMergeReadsByTime(t *testing.T) {
	build := func(topo *stream.Topology) {
		a := topo.From(source.Kafka("a", codec.String)).EventTime(stamped, stream.Watermark{})
		b := topo.From(source.Kafka("b", codec.String)).EventTime(stamped, stream.Watermark{})
		a.Merge(b).To(to("out"))
	}
	d := streamtest.New(t, made(build)(), streamtest.ManualCommit())
	pipeTo(d, "a", 0, "a@1 a@4 a@6")
	pipeTo(d, "b", 0, "b@2 b@3 b@5")
	d.Kill() // nothing was committed: all is read again, together
	d.Commit()
	assert.Equal(t, []string{"a@1", "b@2", "b@3", "a@4", "b@5", "a@6"}, d.Drain[string]("out"))
}

// A source that begins at its end skips what is there at the first start, and only then.
func TestStartAtLatest(t *testing.T) {
	d := streamtest.New(t, made(func(topo *stream.Topology) { texts(topo, source.StartAt(source.Latest)).To(to("out")) })(), streamtest.MayStop())
	d.Crash(streamtest.BeforeProduce)
	d.Pipe("in", noon, "a") // dies with it: its position was never committed
	assert.Empty(t, d.Drain[string]("out"))
	d.Pipe("in", noon, "b")
	d.Kill()
	require.Equal(t, []string{"b"}, d.Drain[string]("out"))
	d.Crash(streamtest.BeforeProduce)
	d.Pipe("in", noon, "c")
	assert.Equal(t, []string{"c"}, d.Drain[string]("out"), "from the committed position")
}
