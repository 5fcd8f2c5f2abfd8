package stream_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
)

// The hashes of Kafka's Java client, from org.apache.kafka.common.utils.UtilsTest; their sign bit is cleared before the
// partition is taken from them.
func TestSinkByKey(t *testing.T) {
	hashes := map[string]int32{"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107}
	streamtest.EveryWay(t, made(func(topo *stream.Topology) { texts(topo).KeyBy(func(s string) string { return s }).To(to("out")) }),
		func(t *testing.T, d *streamtest.Driver) {
			for key := range hashes {
				d.Pipe("in", noon, key)
			}
			got := d.Records("out")
			require.Len(t, got, len(hashes))
			for _, r := range got {
				assert.Equal(t, hashes[string(r.Key)]&0x7fffffff%10, r.Partition, string(r.Key))
			}
		}, streamtest.Topic("out", 10))
}

func TestSinkPartitioners(t *testing.T) {
	numbers := func(d *streamtest.Driver) {
		for i := range 7 {
			d.Pipe("in", noon, fmt.Sprint(i))
		}
	}
	partitions := func(d *streamtest.Driver) (list []int32) {
		for _, r := range d.Records("out") {
			list = append(list, r.Partition)
		}
		return list
	}
	t.Run("round robin", func(t *testing.T) {
		d := streamtest.New(t, made(func(topo *stream.Topology) { texts(topo).KeyBy(letter).To(to("out").RoundRobin()) })(), streamtest.Topic("out", 3))
		numbers(d)
		assert.Equal(t, []int32{0, 1, 2, 0, 1, 2, 0}, partitions(d))
	})
	t.Run("function", func(t *testing.T) {
		streamtest.EveryWay(t, made(func(topo *stream.Topology) {
			texts(topo).To(to("out").Partitioned(func(s string, n int32) int32 { return n - 1 - int32(s[0]-'0')%n }))
		}), func(t *testing.T, d *streamtest.Driver) {
			numbers(d)
			assert.Equal(t, []int32{2, 1, 0, 2, 1, 0, 2}, partitions(d))
		}, streamtest.Topic("out", 3))
	})
	t.Run("out of range", func(t *testing.T) {
		d := streamtest.New(t, made(func(topo *stream.Topology) {
			texts(topo).To(to("out").Partitioned(func(s string, _ int32) int32 { return int32(s[0]-'0') - 2 }))
		})(), streamtest.Topic("out", 3))
		numbers(d)
		assert.Equal(t, []int32{0, 1, 2}, partitions(d))
		assert.Equal(t, uint64(4), d.Counts("out").Skipped)
		assert.Len(t, d.Bad(), 4)
	})
	t.Run("key from the value, or none", func(t *testing.T) {
		streamtest.EveryWay(t, made(func(topo *stream.Topology) {
			texts(topo).KeyBy(letter).To(to("out").Keyed(func(b []byte, s string) []byte {
				if s == "3" {
					return nil
				}
				return append(append(b, 'k'), s...)
			}))
		}), func(t *testing.T, d *streamtest.Driver) {
			numbers(d)
			got := d.Records("out")
			require.Len(t, got, 7)
			for i, r := range got {
				if i == 3 {
					assert.Nil(t, r.Key)
				} else {
					assert.Equal(t, fmt.Sprint("k", i), string(r.Key))
				}
				assert.Equal(t, fmt.Sprint(i), string(r.Value))
			}
		})
	})
	t.Run("an empty key and an empty value are not null", func(t *testing.T) {
		d := streamtest.New(t, made(func(topo *stream.Topology) { texts(topo).To(to("out")) })())
		d.PipeTo("in", streamtest.Record{Key: []byte{}, Value: []byte{}, Time: noon})
		got := d.Records("out")
		require.Len(t, got, 1)
		assert.Equal(t, []byte{}, got[0].Key)
		assert.Equal(t, []byte{}, got[0].Value)
	})
}

// Values larger than the chunks that outputs are collected in.
func TestLargeValues(t *testing.T) {
	build := func(topo *stream.Topology) {
		s := texts(topo)
		s.To(to("out"))
		s.KeyBy(letter).Reduce("r", func(_, v string) string { return v }).Changes(func(_, v string) string { return v }).To(to("kept"))
	}
	streamtest.EveryWay(t, made(build), func(t *testing.T, d *streamtest.Driver) {
		var want []string
		for i, n := range []int{1, 100_000, 10, 70_000, 65_536, 1, 200_000, 3} {
			v := strings.Repeat(string(rune('a'+i)), n)
			want = append(want, v)
			d.Pipe("in", noon, v)
		}
		assert.Equal(t, want, d.Drain[string]("out"))
		assert.Equal(t, want, d.Drain[string]("kept"))
	})
}

func countLetters(topo *stream.Topology) {
	texts(topo).KeyBy(letter).Count("n").Changes(func(k string, n int64) string { return fmt.Sprint(k, n) }).To(to("out"))
}

// At least once and at most once, as long as nothing fails, are exactly once.
func TestOtherGuarantees(t *testing.T) {
	for _, g := range []connect.Guarantee{connect.ExactlyOnce, connect.AtLeastOnce, connect.AtMostOnce} {
		for _, again := range []func(*streamtest.Driver){func(*streamtest.Driver) {}, (*streamtest.Driver).Restart, (*streamtest.Driver).WipeState} {
			d := streamtest.New(t, made(countLetters)(), streamtest.Guarantee(g))
			for range 3 {
				d.Pipe("in", noon, "a", "b")
				again(d)
			}
			assert.Equal(t, []string{"a1", "b1", "a2", "b2", "a3", "b3"}, d.Drain[string]("out"), g.String())
		}
	}
}

// In crashes, at least once loses nothing: the largest count is not below the number of records. At most once doubles
// nothing: it is not above it.
func TestGuaranteesInCrashes(t *testing.T) {
	for _, step := range streamtest.Steps() {
		for _, g := range []connect.Guarantee{connect.AtLeastOnce, connect.AtMostOnce} {
			t.Run(fmt.Sprint(g, " ", step), func(t *testing.T) {
				d := streamtest.New(t, made(countLetters)(), streamtest.Guarantee(g))
				for range 5 {
					d.Crash(step)
					d.Pipe("in", noon, "a")
				}
				d.Kill()
				most := 0
				for _, v := range d.Drain[string]("out") {
					var n int
					_, err := fmt.Sscanf(v, "a%d", &n)
					require.NoError(t, err)
					most = max(most, n)
				}
				if g == connect.AtLeastOnce {
					assert.GreaterOrEqual(t, most, 5)
				} else {
					assert.LessOrEqual(t, most, 5)
				}
			})
		}
	}
}

// What a sink cannot write goes to its own policy, if it has one, with the record as it was read.
func TestSinkPolicy(t *testing.T) {
	limit := streamtest.Limits("out", connect.Limits{MaxBytes: 8})
	build := func(topo *stream.Topology) {
		s := topo.From(source.Kafka("in", codec.String, source.OnError(onerror.Fail)))
		s.To(sink.Kafka("out", codec.String).OnError(onerror.DeadLetter("dead")))
		s.KeyBy(letter).Reduce("last", func(_, s string) string { return s }).To(sink.Kafka("out", codec.String).OnError(onerror.Skip))
	}
	streamtest.EveryWay(t, made(build), func(t *testing.T, d *streamtest.Driver) {
		d.Pipe("in", noon, "a", "far too long", "b")
		assert.ElementsMatch(t, []string{"a", "a", "b", "b"}, d.Drain[string]("out"))
		dead := d.Records("dead")
		require.Len(t, dead, 1)
		assert.Equal(t, "far too long", string(dead[0].Value))
	}, limit)
	topo := stream.New("bad")
	texts(topo).To(sink.Kafka("out", codec.String).OnError(onerror.DeadLetter("")))
	got := mistakes(t, topo, goodConfig(t))
	require.Len(t, got, 1)
	assert.Contains(t, got[0], `sink "out": the dead-letter topic has no name`)
}
