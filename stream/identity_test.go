package stream_test

import (
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
)

func letters(s string) iter.Seq[string] { return slices.Values(strings.Split(s, "")) }

func named(id, v string) string { return v + " " + id }

// An id names the record that was read, and its place among the values that were made of it, also where they have come by several
// ways, and where a record is tried again.
func TestMapWithID(t *testing.T) {
	var o outage
	build := func(topo *stream.Topology) {
		s := texts(topo).Watermark(stream.Watermark{Idle: time.Minute})
		s.FlatMap(letters).Filter(func(v string) bool { return v != "-" }).MapWithID(named).To(to("letters"))
		s.Map(strings.ToLower).Merge(s.Map(strings.ToUpper)).MapWithID(named).TryMap(o.call, patiently.Then(onerror.Fail)).To(to("both"))
		s.KeyBy(letter).MapValues(func(_, v string) string { return v }).Map(func(_, v string) string { return v }).MapWithID(named).
			KeyBy(letter).Repartition("r", stream.Repartitioning{}).To(to("keyed"))
	}
	streamtest.EveryWay(t, made(build), func(t *testing.T, d *streamtest.Driver) {
		o = outage{down: "b in/1/1/0"}
		pipe := func(p int32, values ...string) {
			for _, v := range values {
				d.PipeTo("in", streamtest.Record{Partition: p, Value: []byte(v), Time: noon})
			}
		}
		pipe(0, "ab-c", "-")
		pipe(1, "d", "b")
		letters, both, keyed := d.Drain[string]("letters"), d.Drain[string]("both"), d.Drain[string]("keyed")
		assert.NotContains(t, both, "B IN/1/1/0", "it waits to be tried again")
		o.down = ""
		d.AdvanceWall(20 * time.Second)
		assert.ElementsMatch(t, []string{"a in/0/0/0", "b in/0/0/1", "c in/0/0/2", "d in/1/0/0", "b in/1/1/0"}, append(letters, d.Drain[string]("letters")...))
		assert.ElementsMatch(t, []string{"AB-C IN/0/0/0", "AB-C IN/0/0/1", "- IN/0/1/0", "- IN/0/1/1", "D IN/1/0/0", "D IN/1/0/1", "B IN/1/1/0", "B IN/1/1/1"}, append(both, d.Drain[string]("both")...))
		assert.ElementsMatch(t, []string{"ab-c in/0/0/0", "- in/0/1/0", "d in/1/0/0", "b in/1/1/0"}, append(keyed, d.Drain[string]("keyed")...))
	}, streamtest.Topic("in", 2), streamtest.Start(noon))
}

// What would not be the same the next time is refused.
func TestMapWithIDRefuses(t *testing.T) {
	for by, before := range map[string]func(topo *stream.Topology) stream.Stream[string]{
		`changes "changes"`: func(topo *stream.Topology) stream.Stream[string] {
			return texts(topo).KeyBy(letter).Count("n").Changes(func(k string, n int64) string { return k })
		},
		`async "calls"`: func(topo *stream.Topology) stream.Stream[string] {
			return texts(topo).Async("calls", upperCall, stream.Async[string, string]{Capacity: 1})
		},
		`repartition "r"`: func(topo *stream.Topology) stream.Stream[string] {
			return texts(topo).KeyBy(letter).Repartition("r", stream.Repartitioning{}).Map(func(_, v string) string { return v })
		},
		`deduplicate "seen"`: func(topo *stream.Topology) stream.Stream[string] {
			u := texts(topo).KeyBy(letter).Deduplicate("seen", func(s string) string { return s }, time.Hour).Map(func(_, v string) string { return v })
			return texts(topo).Merge(u)
		},
	} {
		_, err := made(func(topo *stream.Topology) { before(topo).MapWithID(named).To(to("out")) })().Build(stream.Config{AppID: "app"})
		require.ErrorContains(t, err, by)
		require.ErrorContains(t, err, "depends on more than the record that was read")
	}
}

// Copies of a result that were written twice are told by its id.
func ExampleStream_MapWithID() {
	topo := stream.New("ids")
	topo.From(source.Kafka("visits", codec.String)).
		FlatMap(func(line string) iter.Seq[string] { return strings.SplitSeq(line, " ") }).
		MapWithID(func(id, page string) string { return page + " has id " + id }).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.Pipe("visits", noon, "home prices", "home")
	printed(d)
	// Output:
	// home has id visits/0/0/0
	// prices has id visits/0/0/1
	// home has id visits/0/1/0
}
