package stream_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
)

func letter(s string) string { return s[:1] }

// longest is an aggregate with a slice, a map and a pointer in it, so that wrongly shared state shows.
type longest struct {
	N     int
	Words []string
	Sizes map[string]int
	Last  *string
}

func (l *longest) add(s string) {
	l.N++
	l.Words = append(l.Words, s)
	if l.Sizes == nil {
		l.Sizes = map[string]int{}
	}
	l.Sizes[s]++
	l.Last = &s
}

// tables are the operators that keep one aggregate per key.
var tables = map[string]struct {
	build func(topo *stream.Topology)
	in    []string
	out   []string // of each letter in order
}{
	"count": {
		func(topo *stream.Topology) {
			texts(topo).KeyBy(letter).Count("n").Changes(func(k string, n int64) string { return fmt.Sprint(k, n) }).To(to("out"))
		},
		[]string{"a", "b", "a", "a"}, []string{"a1", "b1", "a2", "a3"},
	},
	"reduce": {
		func(topo *stream.Topology) {
			texts(topo).KeyBy(letter).Reduce("r", func(sum, v string) string { return sum + v }).
				Changes(func(k, v string) string { return v }).To(to("out"))
		},
		[]string{"a1", "b1", "a2", "a3"}, []string{"a1", "b1", "a1a2", "a1a2a3"},
	},
	"reduce with a codec": {
		func(topo *stream.Topology) {
			texts(topo).KeyBy(letter).Reduce("r", func(sum, v string) string { return max(sum, v) }, codec.JSON[string]()).
				Changes(func(k, v string) string { return v }).To(to("out"))
		},
		[]string{"a2", "a1", "a3"}, []string{"a2", "a2", "a3"},
	},
	"fold": {
		func(topo *stream.Topology) {
			texts(topo).KeyBy(letter).Fold("f", (*longest).add).
				Changes(func(k string, l longest) string { return fmt.Sprint(k, l.N, l.Words, l.Sizes, *l.Last) }).To(to("out"))
		},
		[]string{"a1", "b1", "a2", "a1"},
		[]string{"a1 [a1] map[a1:1]a1", "b1 [b1] map[b1:1]b1", "a2 [a1 a2] map[a1:1 a2:1]a2", "a3 [a1 a2 a1] map[a1:2 a2:1]a1"},
	},
	"two tables behind one repartition": {
		func(topo *stream.Topology) {
			k := texts(topo).KeyBy(letter).Repartition("letters", stream.Repartitioning{})
			k.Count("n").Changes(func(k string, n int64) string { return fmt.Sprint(k, n) }).To(to("out"))
			k.Count("m").Changes(func(k string, n int64) string { return fmt.Sprint(k, -n) }).To(to("out"))
		},
		[]string{"a", "b", "a"}, []string{"a1", "a-1", "b1", "b-1", "a2", "a-2"},
	},
	"a table of a table": {
		func(topo *stream.Topology) {
			texts(topo).KeyBy(letter).Count("n").Changes(func(_ string, n int64) string { return fmt.Sprint(n) }).
				KeyBy(letter).Count("m").Changes(func(k string, n int64) string { return fmt.Sprint(k, ":", n) }).To(to("out"))
		},
		[]string{"a", "b", "a", "a"}, []string{"1:1", "1:2", "2:1", "3:1"},
	},
	"a stateless chain before and after": {
		func(topo *stream.Topology) {
			texts(topo).FlatMap(fields).Filter(short).KeyBy(letter).MapValues(func(_, v string) string { return upper(v) }).
				Filter(func(k, v string) bool { return v != "AX" }).
				Reduce("r", func(a, b string) string { return a + b }).Changes(func(_, v string) string { return v }).
				Filter(func(s string) bool { return s != "A2" }).To(to("out"))
		},
		[]string{"a1 ax toolong", "ax a2"}, []string{"A1", "A1A2"},
	},
}

func TestTables(t *testing.T) {
	for name, c := range tables {
		t.Run(name, func(t *testing.T) {
			streamtest.EveryWay(t, made(c.build), func(t *testing.T, d *streamtest.Driver) {
				for _, v := range c.in {
					d.Pipe("in", noon, v)
				}
				assert.Equal(t, c.out, d.Drain[string]("out"))
			})
			streamtest.EveryWay(t, made(c.build), func(t *testing.T, d *streamtest.Driver) {
				d.Pipe("in", noon, c.in...)
				assert.Equal(t, c.out, d.Drain[string]("out"))
			})
		})
	}
}

// A change carries the key, the largest event time so far, and no headers of others.
func TestChanges(t *testing.T) {
	build := func(topo *stream.Topology) {
		texts(topo).KeyBy(letter).Count("n").Changes(func(_ string, n int64) string { return fmt.Sprint(n) }).To(to("out"))
	}
	streamtest.EveryWay(t, made(build), func(t *testing.T, d *streamtest.Driver) {
		for _, off := range []int{5, 3, 8} {
			d.PipeTo("in", streamtest.Record{Value: []byte("a"), Time: noon.Add(time.Duration(off) * time.Second)})
		}
		got := d.Records("out")
		require.Len(t, got, 3)
		for i, off := range []int{5, 5, 8} {
			assert.Equal(t, "a", string(got[i].Key))
			assert.Equal(t, noon.Add(time.Duration(off)*time.Second), got[i].Time)
		}
	})
}

// A topic that is partitioned by its keys needs no repartition.
func TestFromKeyed(t *testing.T) {
	build := func(topo *stream.Topology) {
		topo.FromKeyed(source.KafkaKeyed("in", codec.Int64, codec.String)).
			Count("n").Changes(func(k, n int64) string { return fmt.Sprint(k, ":", n) }).To(to("out"))
	}
	streamtest.EveryWay(t, made(build), func(t *testing.T, d *streamtest.Driver) {
		for _, k := range []int64{1, 2, 1, -1, 1} {
			d.PipeKeyed("in", k, noon, "v")
		}
		assert.ElementsMatch(t, []string{"1:1", "2:1", "1:2", "-1:1", "1:3"}, d.Drain[string]("out"))
		assert.Equal(t, []string{"in", "out", "test-in-changelog"}, d.Topics(), "there is no repartition")
	}, streamtest.Partitions(3))
}

// Every kind of key that needs no codec of its own.
func TestKeyTypes(t *testing.T) {
	type id string
	type number int32
	type uid [16]byte
	counted := func(topo *stream.Topology) {
		s := texts(topo)
		s.KeyBy(func(s string) id { return id(s) }).Count("id").Changes(func(k id, n int64) string { return fmt.Sprint(k, n) }).To(to("id"))
		s.KeyBy(func(s string) number { return number(len(s)) - 2 }).Count("number").Changes(func(k number, n int64) string { return fmt.Sprint(k, ":", n) }).To(to("number"))
		s.KeyBy(func(s string) uid { return uid{byte(len(s))} }).Count("uid").Changes(func(k uid, n int64) string { return fmt.Sprint(k[0], ":", n) }).To(to("uid"))
		s.KeyBy(func(s string) uint64 { return uint64(len(s)) << 60 }).Count("uint").Changes(func(k uint64, n int64) string { return fmt.Sprint(k>>60, ":", n) }).To(to("uint"))
		s.KeyByWith(func(s string) struct{ N int } { return struct{ N int }{len(s)} }, codec.JSON[struct{ N int }]()).
			Count("json").Changes(func(k struct{ N int }, n int64) string { return fmt.Sprint(k.N, ":", n) }).To(to("json"))
	}
	streamtest.EveryWay(t, made(counted), func(t *testing.T, d *streamtest.Driver) {
		d.Pipe("in", noon, "", "x", "", "yyy")
		assert.ElementsMatch(t, []string{"1", "x1", "2", "yyy1"}, d.Drain[string]("id"))
		assert.ElementsMatch(t, []string{"-2:1", "-1:1", "-2:2", "1:1"}, d.Drain[string]("number"))
		for _, topic := range []string{"uid", "uint", "json"} {
			assert.ElementsMatch(t, []string{"0:1", "1:1", "0:2", "3:1"}, d.Drain[string](topic), topic)
		}
	}, streamtest.Partitions(2))
}
