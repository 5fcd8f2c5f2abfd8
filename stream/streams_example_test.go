package stream_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/state"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

// strings of a topic, keyed by what the producers have chosen.
func keyedStrings(topo *stream.Topology, topic string) stream.Keyed[string, string] {
	return topo.FromKeyed(source.KafkaKeyed(topic, codec.String, codec.String))
}

// Operators without state are written one behind the other; those that are used more than once are functions of a stream.
func ExampleStream_Filter() {
	clean := func(s stream.Stream[string]) stream.Stream[string] {
		return s.Map(strings.TrimSpace).Filter(func(v string) bool { return v != "" })
	}
	atLeast := func(s stream.Stream[string], n int) stream.Stream[string] {
		return s.Filter(func(v string) bool { return len(v) >= n })
	}
	topo := stream.New("clean")
	topo.From(source.Kafka("lines", codec.String)).
		Watermark(stream.Watermark{OutOfOrder: time.Second}).
		Peek(func(v string) { fmt.Printf("read %q\n", v) }).
		Via(clean).
		Via2(atLeast, 3).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.Pipe("lines", noon, " one", "  ", "of", "three ")
	printed(d)
	// Output:
	// read " one"
	// read "  "
	// read "of"
	// read "three "
	// one
	// three
}

// Event time comes from the value, and the key has a codec of its own.
func ExampleStream_EventTime() {
	type reading struct {
		Sensor int64
		At     time.Time
	}
	topo := stream.New("readings")
	topo.From(source.Kafka("readings", codec.JSON[reading]())).
		EventTime(func(r reading) time.Time { return r.At }, stream.Watermark{OutOfOrder: 5 * time.Minute}).
		KeyByWith(func(r reading) int64 { return r.Sensor }, codec.Int64).
		Window(window.Tumbling{Size: time.Hour}).
		Count("readings-by-hour").
		OnClose(func(sensor int64, s window.Span, n int64) string {
			return fmt.Sprintf("sensor %d, %s: %d", sensor, s.Start().Format("15:04"), n)
		}).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	for _, minute := range []int{5, 61, 59, 62, 130} {
		d.Pipe("readings", noon.Add(24*time.Hour), reading{7, noon.Add(time.Duration(minute) * time.Minute)})
	}
	printed(d)
	// Output:
	// sensor 7, 12:00: 2
	// sensor 7, 13:00: 2
}

// A record without a row is a result too.
func ExampleStream_LeftJoinGlobal() {
	topo := stream.New("countries")
	names := topo.GlobalTable(source.KafkaKeyed("countries", codec.String, codec.String))
	topo.From(source.Kafka("visits", codec.String)).
		LeftJoinGlobal(names, func(code string) (string, bool) { return code, code != "" }, func(code string, name *string) string {
			if name == nil {
				return code + " is unknown"
			}
			return *name
		}).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("countries", "FR", noon, "France")
	d.Pipe("visits", noon, "FR", "XX")
	printed(d)
	// Output:
	// France
	// XX is unknown
}

// What changes values alone keeps the key, so that nothing has to be repartitioned.
func ExampleKeyed_MapValues() {
	topo := stream.New("words")
	even := keyedStrings(topo, "even").Watermark(stream.Watermark{Idle: time.Minute})
	odd := keyedStrings(topo, "odd").EventTime(func(string) time.Time { return noon }, stream.Watermark{Idle: time.Minute})
	even.Merge(odd).
		FlatMapValues(func(_, line string) iter.Seq[string] { return strings.FieldsSeq(line) }).
		Filter(func(_, word string) bool { return word != "the" }).
		Peek(func(page, word string) { fmt.Println(page, word) }).
		MapValues(func(_, word string) int { return len(word) }).
		Map(func(page string, n int) string { return fmt.Sprint(page, " ", n) }).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("even", "p2", noon, "the end")
	d.PipeKeyed("odd", "p1", noon, "once upon")
	printed(d)
	// Output:
	// p2 end
	// p1 once
	// p1 upon
	// p2 3
	// p1 4
	// p1 4
}

// Calls for the records of one key keep their order; those of others do not wait for them.
func ExampleKeyed_Async() {
	capital := func(_ context.Context, v string) (string, error) { return strings.ToUpper(v), nil } // a request
	topo := stream.New("upper")
	keyedStrings(topo, "in").
		Async("calls", capital, stream.Async[string, string]{Capacity: 10, Order: stream.PerKey}).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("in", "k", noon, "first", "second")
	printed(d)
	// Output:
	// FIRST
	// SECOND
}

// A profile that cannot be found is no reason to lose the order.
func ExampleKeyed_LeftJoinLookup() {
	profile := func(_ context.Context, user string) (string, bool, error) { return "Ann", user == "u1", nil } // a query
	topo := stream.New("enrich")
	keyedStrings(topo, "orders").
		LeftJoinLookup("profiles", stream.Lookup[string, string]{Find: profile, TTL: time.Hour, MissTTL: time.Minute},
			func(order string, name *string) string {
				if name == nil {
					return order + " for somebody"
				}
				return order + " for " + *name
			}).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("orders", "u1", noon, "a book")
	d.PipeKeyed("orders", "u2", noon, "a pen")
	printed(d)
	// Output:
	// a book for Ann
	// a pen for somebody
}

// A keyed stream keeps its key, whatever the key that it is joined by.
func ExampleKeyed_JoinGlobal() {
	topo := stream.New("prices")
	prices := topo.GlobalTable(source.KafkaKeyed("prices", codec.String, codec.Int64))
	item := func(_, item string) (string, bool) { return item, true }
	orders := keyedStrings(topo, "orders")
	orders.JoinGlobal(prices, item, func(item string, price int64) string { return fmt.Sprint(item, " costs ", price) }).
		Map(func(user, text string) string { return user + ": " + text }).
		Merge(orders.LeftJoinGlobal(prices, item, func(item string, price *int64) string { return fmt.Sprint(item, " has a price: ", price != nil) }).
			Map(func(user, text string) string { return user + ": " + text })).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("prices", "pear", noon, int64(2))
	d.PipeKeyed("orders", "ann", noon, "pear", "plum")
	printed(d)
	// Output:
	// ann: pear costs 2
	// ann: pear has a price: true
	// ann: plum has a price: false
}

// Several values of a key, by position, by name, by time.
func ExampleHandles_List() {
	topo := stream.New("handles")
	type handles struct {
		state.List[string]
		perWord state.Map[string, int64]
		perHour state.Window[int64]
		newest  state.Versioned[string]
	}
	keyedStrings(topo, "words").
		ProcessWith("words", func(h *stream.Handles[string]) handles {
			return handles{
				List:    h.List("all", state.Spec[string]{TTL: 24 * time.Hour}),
				perWord: h.Map("per-word", state.MapSpec[string, int64]{}),
				perHour: h.Window("per-hour", state.Spec[int64]{TTL: 48 * time.Hour}),
				newest:  h.Versioned("newest", state.Spec[string]{TTL: time.Hour}),
			}
		}, func(p *stream.Process[string, handles, string], word string) {
			h := p.State()
			h.Append(word)
			n, _ := h.perWord.Get(word)
			h.perWord.Put(word, n+1)
			hour := p.Time().Truncate(time.Hour)
			in, _ := h.perHour.Get(hour)
			h.perHour.Put(hour, in+1)
			h.newest.Put(p.Time(), word)
			before, _ := h.newest.AsOf(p.Time().Add(-time.Minute))
			p.Emit(fmt.Sprintf("%s: %v, this one %d times, %d in this hour, a minute ago %q", p.Key(), slices.Collect(h.All()), n+1, in+1, before))
		}, nil).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("words", "k", noon, "a")
	d.PipeKeyed("words", "k", noon.Add(2*time.Minute), "b")
	d.PipeKeyed("words", "k", noon.Add(time.Hour), "a")
	printed(d)
	// Output:
	// k: [a], this one 1 times, 1 in this hour, a minute ago ""
	// k: [a b], this one 1 times, 2 in this hour, a minute ago "a"
	// k: [a b a], this one 2 times, 1 in this hour, a minute ago "b"
}
