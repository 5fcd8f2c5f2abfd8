package stream_test

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
)

// noon is when tests begin.
var noon = time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)

// texts reads the topic "in", and to writes a topic, both of strings.
func texts(topo *stream.Topology, opts ...source.Option) stream.Stream[string] {
	return topo.From(source.Kafka("in", codec.String, opts...))
}

func to(topic string) sink.Sink[string] { return sink.Kafka(topic, codec.String) }

// made makes a topology.
func made(build func(topo *stream.Topology)) func() *stream.Topology {
	return func() *stream.Topology {
		topo := stream.New("test")
		build(topo)
		return topo
	}
}

func upper(s string) string            { return strings.ToUpper(s) }
func short(s string) bool              { return len(s) < 4 }
func fields(s string) iter.Seq[string] { return strings.FieldsSeq(s) }

// stateless are operators without state: what goes in, and what comes out of which topic.
var stateless = map[string]struct {
	build func(topo *stream.Topology)
	in    []string
	out   map[string][]string
}{
	"map": {
		func(topo *stream.Topology) { texts(topo).Map(upper).To(to("out")) },
		[]string{"a", "", "b"}, map[string][]string{"out": {"A", "", "B"}},
	},
	"map to another type": {
		func(topo *stream.Topology) {
			texts(topo).Map(func(s string) int { return len(s) }).Map(strconv.Itoa).To(to("out"))
		},
		[]string{"a", "", "ccc"}, map[string][]string{"out": {"1", "0", "3"}},
	},
	"flatmap": {
		func(topo *stream.Topology) { texts(topo).FlatMap(fields).To(to("out")) },
		[]string{"a b", "", "c"}, map[string][]string{"out": {"a", "b", "c"}},
	},
	"flatmap that is followed": {
		func(topo *stream.Topology) { texts(topo).FlatMap(fields).Filter(short).Map(upper).To(to("out")) },
		[]string{"abc abcd", "x longer y"}, map[string][]string{"out": {"ABC", "X", "Y"}},
	},
	"filter": {
		func(topo *stream.Topology) { texts(topo).Filter(short).To(to("out")) },
		[]string{"abc", "abcd", ""}, map[string][]string{"out": {"abc", ""}},
	},
	"split": {
		func(topo *stream.Topology) {
			s := texts(topo).Split(func(s string) bool { return s == "x" }, short)
			s[0].To(to("x"))
			s[1].To(to("short"))
			s[2].To(to("rest"))
		},
		[]string{"x", "ab", "long one", "x"}, map[string][]string{"x": {"x", "x"}, "short": {"ab"}, "rest": {"long one"}},
	},
	"split without the rest": {
		func(topo *stream.Topology) { texts(topo).Split(short)[0].To(to("out")) },
		[]string{"ab", "long one"}, map[string][]string{"out": {"ab"}},
	},
	"split with an unused branch": {
		func(topo *stream.Topology) { texts(topo).Split(short)[1].To(to("out")) },
		[]string{"ab", "long one"}, map[string][]string{"out": {"long one"}},
	},
	"one stream used twice": {
		func(topo *stream.Topology) {
			s := texts(topo)
			s.Map(upper).To(to("a"))
			s.Filter(short).To(to("b"))
		},
		[]string{"ab", "long one"}, map[string][]string{"a": {"AB", "LONG ONE"}, "b": {"ab"}},
	},
	"merge": {
		func(topo *stream.Topology) {
			s := texts(topo)
			s.Map(upper).Merge(s.Filter(short), s).To(to("out"))
		},
		[]string{"ab", "long one"}, map[string][]string{"out": {"AB", "ab", "ab", "LONG ONE", "long one"}},
	},
	"peek": {
		func(topo *stream.Topology) {
			var seen []string
			texts(topo).Peek(func(s string) { seen = append(seen, s) }).Map(func(s string) string { return seen[len(seen)-1] + s }).To(to("out"))
		},
		[]string{"a", "b"}, map[string][]string{"out": {"aa", "bb"}},
	},
	"trymap": {
		func(topo *stream.Topology) {
			texts(topo).TryMap(strconv.Atoi).Map(func(n int) string { return strconv.Itoa(n + 1) }).To(to("out"))
		},
		[]string{"1", "one", "2"}, map[string][]string{"out": {"2", "3"}},
	},
	"via": {
		func(topo *stream.Topology) {
			texts(topo).Via(func(s stream.Stream[string]) stream.Stream[string] { return s.Map(upper) }).To(to("out"))
		},
		[]string{"a"}, map[string][]string{"out": {"A"}},
	},
	"via with an argument": {
		func(topo *stream.Topology) {
			suffix := func(s stream.Stream[string], x string) stream.Stream[string] {
				return s.Map(func(v string) string { return v + x })
			}
			texts(topo).Via2(suffix, "!").To(to("out"))
		},
		[]string{"a"}, map[string][]string{"out": {"a!"}},
	},
	"keyed operators": {
		func(topo *stream.Topology) {
			texts(topo).KeyBy(func(s string) int { return len(s) }).
				MapValues(func(n int, s string) string { return fmt.Sprint(n, s) }).
				Filter(func(n int, _ string) bool { return n != 2 }).
				Peek(func(n int, s string) {
					if !strings.HasPrefix(s, strconv.Itoa(n)) {
						panic("key and value do not belong together")
					}
				}).
				Map(func(n int, s string) string { return s + "!" }).To(to("out"))
		},
		[]string{"a", "bb", "ccc"}, map[string][]string{"out": {"1a!", "3ccc!"}},
	},
	"keyed merge": {
		func(topo *stream.Topology) {
			k := texts(topo).KeyBy(func(s string) string { return s })
			k.Filter(func(k, _ string) bool { return short(k) }).Merge(k).To(to("out"))
		},
		[]string{"a", "long one"}, map[string][]string{"out": {"a", "a", "long one"}},
	},
}

func TestStateless(t *testing.T) {
	for name, c := range stateless {
		t.Run(name, func(t *testing.T) {
			streamtest.EveryWay(t, made(c.build), func(t *testing.T, d *streamtest.Driver) {
				for _, v := range c.in {
					d.Pipe("in", noon, v)
				}
				for topic, want := range c.out {
					assert.Equal(t, want, d.Drain[string](topic), topic)
				}
			})
		})
	}
}

func TestSplitCountsWhatNobodyTakes(t *testing.T) {
	d := streamtest.New(t, made(func(topo *stream.Topology) { texts(topo).Split(short)[0].To(to("out")) })())
	d.Pipe("in", noon, "ab", "long one", "another")
	assert.Equal(t, uint64(2), d.Counts("split").Skipped)
	assert.Equal(t, streamtest.Counts{Records: 3, Passed: 3}, d.Counts("in"))
	assert.Equal(t, streamtest.Counts{Records: 1, Passed: 1}, d.Counts("out"))
}

// What a record carries beside its value goes through stateless operators as it is.
func TestKeyTimeAndHeadersStay(t *testing.T) {
	build := func(topo *stream.Topology) {
		s := texts(topo)
		s.Map(upper).FlatMap(fields).Filter(short).To(to("out"))
		s.KeyBy(func(s string) int64 { return int64(len(s)) }).To(to("keyed"))
		s.KeyBy(func(s string) int64 { return int64(len(s)) }).Map(func(_ int64, s string) string { return s }).To(to("after"))
	}
	streamtest.EveryWay(t, made(build), func(t *testing.T, d *streamtest.Driver) {
		h := []source.Header{{Key: "trace", Value: []byte("1")}, {Key: "trace", Value: nil}}
		d.PipeTo("in", streamtest.Record{Key: []byte("k"), Value: []byte("a b"), Headers: h, Time: noon.Add(time.Millisecond)})
		d.PipeTo("in", streamtest.Record{Value: []byte("c"), Time: noon})
		got := d.Records("out")
		require.Len(t, got, 3)
		for i, want := range []string{"A", "B"} {
			assert.Equal(t, want, string(got[i].Value))
			assert.Equal(t, "k", string(got[i].Key))
			assert.Equal(t, noon.Add(time.Millisecond), got[i].Time)
			require.Len(t, got[i].Headers, 2)
			assert.Equal(t, "trace", got[i].Headers[0].Key)
			assert.Equal(t, "1", string(got[i].Headers[0].Value))
			assert.Empty(t, got[i].Headers[1].Value)
		}
		assert.Nil(t, got[2].Key)
		assert.Empty(t, got[2].Headers)
		for _, topic := range []string{"keyed", "after"} {
			got = d.Records(topic)
			require.Len(t, got, 2)
			assert.Equal(t, []byte{0, 0, 0, 0, 0, 0, 0, 3}, got[0].Key)
			assert.Equal(t, []byte{0, 0, 0, 0, 0, 0, 0, 1}, got[1].Key)
			assert.Equal(t, h[0].Value, got[0].Headers[0].Value)
		}
	})
}

// Headers, times and keys cross a repartition.
func TestRepartitionCarriesEverything(t *testing.T) {
	build := func(topo *stream.Topology) {
		texts(topo).KeyBy(func(s string) string { return s[:1] }).
			Repartition("by-letter", stream.Repartitioning{Partitions: 3}).
			To(to("out"))
	}
	streamtest.EveryWay(t, made(build), func(t *testing.T, d *streamtest.Driver) {
		h := []source.Header{{Key: "millstream-time", Value: []byte("12345678")}, {Key: "millstream-watermark", Value: []byte("mine")}}
		for i, v := range []string{"a1", "b1", "a2", "c1"} {
			d.PipeTo("in", streamtest.Record{Key: []byte("other"), Value: []byte(v), Headers: h, Time: time.UnixMilli(-1000 - int64(i))})
		}
		got := d.Records("out")
		require.Len(t, got, 4)
		values := map[string]streamtest.Record{}
		for _, r := range got {
			values[string(r.Value)] = r
		}
		for i, v := range []string{"a1", "b1", "a2", "c1"} {
			assert.Equal(t, v[:1], string(values[v].Key))
			assert.Equal(t, int64(-1000-i), values[v].Time.UnixMilli(), v)
			require.Len(t, values[v].Headers, 2)
			for j := range h {
				assert.Equal(t, h[j].Key, values[v].Headers[j].Key)
				assert.Equal(t, string(h[j].Value), string(values[v].Headers[j].Value))
			}
		}
	})
}

// Records of a key keep their order through a repartition, and come from one partition of it.
func TestRepartitionKeepsOrder(t *testing.T) {
	build := func(topo *stream.Topology) {
		texts(topo).KeyBy(func(s string) string { return s[:1] }).Repartition("by-letter", stream.Repartitioning{Partitions: 2}).To(to("out"))
	}
	streamtest.EveryWay(t, made(build), func(t *testing.T, d *streamtest.Driver) {
		var want []string
		for i := range 6 {
			v := string("abc"[i%3]) + strconv.Itoa(i)
			want = append(want, v)
			d.PipeTo("in", streamtest.Record{Partition: int32(i % 3), Value: []byte(v), Time: noon})
		}
		got := d.Drain[string]("out")
		assert.ElementsMatch(t, want, got)
		for _, k := range "abc" {
			var of []string
			for _, v := range got {
				if rune(v[0]) == k {
					of = append(of, v)
				}
			}
			assert.True(t, slices.IsSorted(of), of)
		}
		if !slices.Contains(d.Topics(), "test-by-letter-repartition") {
			return // it is within the process
		}
		parts := map[string]int32{}
		for _, r := range d.Records("test-by-letter-repartition") {
			if r.Key == nil {
				continue // a watermark
			}
			p, known := parts[string(r.Key)]
			assert.True(t, !known || p == r.Partition, "key %s in two partitions", r.Key)
			parts[string(r.Key)] = r.Partition
		}
	}, streamtest.Topic("in", 3))
}
