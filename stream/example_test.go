package stream_test

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

// start runs a topology for an example, as streamtest.New(t, topo) does in a test.
func start(topo *stream.Topology) *streamtest.Driver { return streamtest.New(example{}, topo) }

type example struct{}

func (example) Helper()                           {}
func (example) Cleanup(func())                    {}
func (example) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func ExampleStream_FlatMap() {
	topo := stream.New("words")
	topo.From(source.Kafka("lines", codec.String)).
		FlatMap(strings.FieldsSeq).
		To(sink.Kafka("words", codec.String))

	d := start(topo)
	d.Pipe("lines", noon, "to be", "or not")
	fmt.Println(d.Drain[string]("words"))
	// Output: [to be or not]
}

func ExampleStream_TryMap() {
	topo := stream.New("parse")
	topo.From(source.Kafka("raw", codec.String)).
		TryMap(func(s string) (string, error) {
			if !strings.Contains(s, "=") {
				return "", errors.New("no '=' in it")
			}
			return strings.ReplaceAll(s, "=", ": "), nil
		}, onerror.DeadLetter("raw-bad")).
		To(sink.Kafka("parsed", codec.String))

	d := start(topo)
	d.Pipe("raw", noon, "a=1", "nonsense", "b=2")
	fmt.Println(d.Drain[string]("parsed"))
	for _, r := range d.Records("raw-bad") {
		fmt.Printf("%s: %s\n", r.Value, r.Headers[0].Value)
	}
	// Output:
	// [a: 1 b: 2]
	// nonsense: no '=' in it
}

func ExampleStream_Split() {
	topo := stream.New("sizes")
	sizes := topo.From(source.Kafka("numbers", codec.Int64)).Split(
		func(n int64) bool { return n < 10 },
		func(n int64) bool { return n < 100 },
	)
	sizes[0].To(sink.Kafka("small", codec.Int64))
	sizes[1].To(sink.Kafka("medium", codec.Int64))
	sizes[2].To(sink.Kafka("large", codec.Int64))

	d := start(topo)
	d.Pipe("numbers", noon, int64(5), int64(50), int64(500), int64(7))
	fmt.Println(d.Drain[int64]("small"), d.Drain[int64]("medium"), d.Drain[int64]("large"))
	// Output: [5 7] [50] [500]
}

func ExampleKeyed_Count() {
	topo := stream.New("wordcount")
	topo.From(source.Kafka("lines", codec.String)).
		FlatMap(strings.FieldsSeq).
		KeyBy(strings.ToLower).
		Count("counts").
		Changes(func(word string, n int64) string { return fmt.Sprint(word, "=", n) }).
		To(sink.Kafka("word-counts", codec.String))

	d := start(topo)
	d.Pipe("lines", noon, "to be", "To do")
	fmt.Println(d.Drain[string]("word-counts"))
	// Output: [to=1 be=1 to=2 do=1]
}

func ExampleKeyed_Fold() {
	type stats struct{ N, Sum int64 }
	topo := stream.New("averages")
	topo.FromKeyed(source.KafkaKeyed("readings", codec.String, codec.Int64)).
		Fold("stats", func(s *stats, reading int64) { s.N++; s.Sum += reading }).
		Changes(func(sensor string, s stats) string {
			return fmt.Sprintf("%s: %.1f", sensor, float64(s.Sum)/float64(s.N))
		}).
		To(sink.Kafka("averages", codec.String))

	d := start(topo)
	d.PipeKeyed("readings", "attic", noon, int64(20), int64(25))
	fmt.Println(d.Drain[string]("averages"))
	// Output: [attic: 20.0 attic: 22.5]
}

// The updates of a window, its final result, and what came too late for it.
func ExampleWindowed_Count() {
	topo := stream.New("visits")
	visits := topo.From(source.Kafka("visits", codec.String)).
		KeyBy(func(page string) string { return page }).
		Window(window.Tumbling{Size: time.Minute, Grace: 10 * time.Second}).
		Count("visits-1m")
	show := func(what string) func(string, window.Span, int64) string {
		return func(page string, s window.Span, n int64) string {
			return fmt.Sprint(what, " ", s.Start().Format("15:04"), " ", page, " ", n)
		}
	}
	out := sink.Kafka("out", codec.String)
	visits.OnUpdate(show("update")).To(out)
	visits.OnClose(show("final")).To(out)
	visits.Late(func(page string, l stream.LateRecord[string]) string {
		return "late " + l.Span.Start().Format("15:04") + " " + page
	}).To(out)

	d := start(topo)
	d.Pipe("visits", noon, "home", "home")
	d.Pipe("visits", noon.Add(69*time.Second), "cart")
	d.Pipe("visits", noon.Add(time.Second), "home") // 9 s after the window's end: in time
	d.Pipe("visits", noon.Add(70*time.Second), "cart")
	d.Pipe("visits", noon.Add(time.Second), "home")
	for _, line := range d.Drain[string]("out") {
		fmt.Println(line)
	}
	// Output:
	// update 12:00 home 1
	// update 12:00 home 2
	// update 12:01 cart 1
	// update 12:00 home 3
	// update 12:01 cart 2
	// final 12:00 home 3
	// late 12:00 home
}

// A session that ends when its user has been silent for a while.
func ExampleKeyed_Process() {
	type session struct {
		Clicks int
		Last   time.Time
	}
	const silence = 30 * time.Minute
	topo := stream.New("sessions")
	topo.FromKeyed(source.KafkaKeyed("clicks", codec.String, codec.String)).
		Process("sessions", func(p *stream.Process[string, session, string], _ string) {
			s := p.State()
			s.Clicks, s.Last = s.Clicks+1, p.Time()
			p.SetTimer(s.Last.Add(silence))
		}, func(p *stream.Process[string, session, string], t stream.Timer) {
			if s, ok := p.Get(); ok && t.At.Equal(s.Last.Add(silence)) { // no click came after the one that set it
				p.Emit(fmt.Sprint(p.Key(), " clicked ", s.Clicks, " times"))
				p.Clear()
			}
		}).
		To(sink.Kafka("sessions", codec.String))

	d := start(topo)
	d.PipeKeyed("clicks", "ann", noon, "home")
	d.PipeKeyed("clicks", "ann", noon.Add(20*time.Minute), "cart", "pay")
	d.Advance(noon.Add(time.Hour))
	fmt.Println(d.Drain[string]("sessions"))
	// Output: [ann clicked 3 times]
}
