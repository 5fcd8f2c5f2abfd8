package stream_test

import (
	"fmt"
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

// sided counts the records of each letter, and emits the count to a side output for a record with an exclamation mark, and,
// negative, 10 ms after each record.
func sided(topo *stream.Topology) {
	var side stream.Side[int64]
	counts := texts(topo, source.OnError(onerror.Skip)).KeyBy(letter).Process("counts", func(p *stream.Process[string, int64, string], v string) {
		*p.State()++
		p.Emit(fmt.Sprint(p.Key(), *p.State()))
		if strings.Contains(v, "!") {
			p.EmitTo(&side, *p.State())
		}
		p.SetTimer(p.Time().Add(10 * time.Millisecond))
	}, func(p *stream.Process[string, int64, string], _ stream.Timer) { p.EmitTo(&side, -*p.State()) })
	counts.To(to("out"))
	side.Of(counts).Map(func(n int64) string { return fmt.Sprint(n) }).To(to("side"))
	side.Of(counts).TryMap(func(n int64) (string, error) {
		if n == 3 {
			return "", errBad
		}
		return "", nil
	}).To(to("again"))
}

// What is emitted to a side output has the time and key of the record or timer, is committed with the results, and taken
// back with them.
func TestSide(t *testing.T) {
	streamtest.EveryWay(t, made(sided), func(t *testing.T, d *streamtest.Driver) {
		pipe(d, "a@1 a!@2 b@5 a!@6 z@50")
		var got []string
		for _, r := range d.Records("side") {
			got = append(got, fmt.Sprintf("%s %s@%d", r.Key, r.Value, r.Time.UnixMilli()))
		}
		assert.Equal(t, []string{"a 2@2", "a -2@11", "a -2@12", "b -1@15"}, got, "the third of a is given up on, with its timer")
		assert.Equal(t, []string{"a1", "a2", "b1", "z1"}, d.Drain[string]("out"))
	})
}

// What goes nowhere stops the application.
func TestSideOfNothing(t *testing.T) {
	var side stream.Side[int64]
	d := streamtest.New(t, made(func(topo *stream.Topology) {
		texts(topo).KeyBy(letter).Process("p", func(p *stream.Process[string, int64, string], _ string) { p.EmitTo(&side, 1) }, nil).To(to("out"))
	})(), streamtest.MayStop())
	pipe(d, "a@1")
	require.ErrorContains(t, d.Err(), "a value of type int64 was emitted to a side output that is none of it: call Side.Of")
}

func TestSideMistakes(t *testing.T) {
	topo := stream.New("bad")
	var one, two stream.Side[int64]
	k := texts(topo).KeyBy(letter).Repartition("letters", stream.Repartitioning{})
	p := k.Process("p", func(*stream.Process[string, int64, string], string) {}, nil)
	q := k.Process("q", func(*stream.Process[string, int64, string], string) {}, nil)
	one.Of(p).To(sink.Kafka("a", codec.Int64))
	one.Of(q).To(sink.Kafka("b", codec.Int64))
	two.Of(p.Filter(func(string) bool { return true })).To(sink.Kafka("c", codec.Int64))
	got := strings.Join(mistakes(t, topo, goodConfig(t)), "\n")
	assert.Contains(t, got, `it is a side output of two operators, process "p" and process "q": use one for each`)
	assert.Contains(t, got, `it is to be of a filter, which has no side outputs: name what a Process has returned`)
}

// Sums of payments, and alerts of another type beside them.
func ExampleProcess_EmitTo() {
	type alert struct {
		Card string
		Sum  int64
	}
	var alerts stream.Side[alert]
	topo := stream.New("spending")
	sums := topo.FromKeyed(source.KafkaKeyed("payments", codec.String, codec.Int64)).
		Process("sums", func(p *stream.Process[string, int64, int64], n int64) {
			*p.State() += n
			p.Emit(*p.State())
			if *p.State() > 1000 {
				p.EmitTo(&alerts, alert{p.Key(), *p.State()})
			}
		}, nil)
	sums.To(sink.Kafka("sums", codec.Int64))
	alerts.Of(sums).Map(func(a alert) string { return fmt.Sprintf("card %s: %d spent", a.Card, a.Sum) }).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("payments", "1", noon, int64(600), int64(700))
	fmt.Println(d.Drain[int64]("sums"))
	printed(d)
	// Output:
	// [600 1300]
	// card 1: 1300 spent
}
