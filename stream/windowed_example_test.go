package stream_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/millstream-go/millstream/pattern"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

// The largest payment of each hour.
func ExampleWindowed_Reduce() {
	topo := stream.New("largest")
	topo.FromKeyed(source.KafkaKeyed("payments", codec.String, codec.Int64)).
		Window(window.Tumbling{Size: time.Hour}).
		Reduce("largest", func(a, b int64) int64 { return max(a, b) }).
		OnClose(line).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("payments", "ann", noon, int64(3), int64(9), int64(4))
	d.Advance(noon.Add(time.Hour))
	printed(d)
	// Output: ann 12:00-13:00: 9
}

// An aggregate of another type than the records.
func ExampleWindowed_Fold() {
	type basket struct{ Items []string }
	topo := stream.New("baskets")
	keyedStrings(topo, "bought").
		Window(window.Tumbling{Size: time.Hour}).
		Fold("baskets", func(b *basket, item string) { b.Items = append(b.Items, item) }).
		OnClose(func(user string, _ window.Span, b basket) string { return user + ": " + strings.Join(b.Items, ", ") }).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("bought", "ann", noon, "pears", "plums")
	d.Advance(noon.Add(time.Hour))
	printed(d)
	// Output: ann: pears, plums
}

// The last two pages that each user has seen in an hour.
func ExampleWindowed_Collect() {
	topo := stream.New("recent")
	keyedStrings(topo, "pages").
		Window(window.Tumbling{Size: time.Hour}).
		Collect("recent", 2).
		OnClose(func(user string, _ window.Span, pages []string) string { return fmt.Sprint(user, " ", pages) }).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("pages", "ann", noon, "home", "cart", "paid")
	d.Advance(noon.Add(time.Hour))
	printed(d)
	// Output: ann [cart paid]
}

// revised shows a result's number, and whether it is the last.
func revised(user string, s window.Span, n int64) string {
	text := fmt.Sprintf("%s, revision %d", line(user, s, n), s.Revision)
	if s.Final {
		text += ", final"
	}
	return text
}

// Each change of a window, and what it has closed with.
func ExampleAggregated_OnUpdate() {
	viewed(visits(window.Tumbling{Size: time.Hour}, func(a stream.Aggregated[string, string, int64]) stream.Stream[string] {
		return a.OnUpdate(revised).Merge(a.OnClose(revised))
	}), 1, 2)
	// Output:
	// ann 12:00-13:00: 1, revision 1
	// ann 12:00-13:00: 2, revision 2
	// ann 12:00-13:00: 2, revision 2, final
}

// Every second change is enough.
func ExampleAggregated_OnUpdateNth() {
	viewed(visits(window.Tumbling{Size: time.Hour}, func(a stream.Aggregated[string, string, int64]) stream.Stream[string] {
		return a.OnUpdateNth(2, revised).Merge(a.OnClose(revised))
	}), 1, 2, 3, 4, 5)
	// Output:
	// ann 12:00-13:00: 2, revision 2
	// ann 12:00-13:00: 4, revision 4
	// ann 12:00-13:00: 5, revision 5, final
}

// What has changed since the last commit, once: at the pace of Config.CommitInterval, which a test sets by itself.
func ExampleAggregated_OnCommit() {
	topo := visits(window.Tumbling{Size: time.Hour}, func(a stream.Aggregated[string, string, int64]) stream.Stream[string] {
		return a.OnCommit(revised)
	})
	d := streamtest.New(example{}, topo, streamtest.ManualCommit())
	d.Pipe("views", noon, "ann", "ann", "ann")
	d.Commit()
	d.Pipe("views", noon, "ann")
	d.Commit()
	printed(d)
	// Output:
	// ann 12:00-13:00: 3, revision 3
	// ann 12:00-13:00: 4, revision 4
}

// Every three orders of a user, however far apart: a global window has no end, and results when its trigger says so.
func ExampleAggregated_OnFire() {
	topo := stream.New("loyalty")
	keyedStrings(topo, "orders").
		Window(window.Global{TTL: 365 * 24 * time.Hour}).
		Trigger(window.Trigger{Count: 3, Purge: true}).
		Collect("orders", 0).
		OnFire(func(user string, _ window.Span, items []string) string {
			return fmt.Sprint("a gift for ", user, ": ", items)
		}).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("orders", "ann", noon, "a", "b", "c", "d")
	d.PipeKeyed("orders", "ann", noon.Add(240*time.Hour), "e", "f")
	printed(d)
	// Output:
	// a gift for ann: [a b c]
	// a gift for ann: [d e f]
}

// A record that comes when its window has closed is told of, with the window.
func ExampleAggregated_Late() {
	topo := stream.New("visits")
	counts := keyedStrings(topo, "views").Window(window.Tumbling{Size: time.Hour, Grace: time.Minute}).Count("visits")
	counts.OnClose(line).To(sink.Kafka("closed", codec.String))
	counts.Late(func(user string, l stream.LateRecord[string]) string {
		return fmt.Sprintf("%s saw %s at %s, %v late for %s-%s: %s", user, l.Value, l.Time.Format("15:04"), l.Behind(),
			l.Span.Start().Format("15:04"), l.Span.End().Format("15:04"), l.Reason)
	}).To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("views", "ann", noon, "home")
	d.PipeKeyed("views", "bob", noon.Add(90*time.Minute), "home")
	d.PipeKeyed("views", "ann", noon.Add(5*time.Minute), "cart")
	printed(d)
	// Output: ann saw cart at 12:05, 1h25m0s late for 12:00-13:00: all its windows had closed
}

// Hopping windows overlap: a record is in each that contains its time.
func ExampleKeyed_Window() {
	topo := stream.New("visits")
	keyedStrings(topo, "views").
		Window(window.Hopping{Size: 20 * time.Minute, Advance: 10 * time.Minute}).
		Count("visits").
		OnClose(line).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("views", "ann", noon.Add(5*time.Minute), "home")
	d.PipeKeyed("views", "ann", noon.Add(12*time.Minute), "cart")
	d.Advance(noon.Add(time.Hour))
	printed(d)
	// Output:
	// ann 11:50-12:10: 1
	// ann 12:00-12:20: 2
	// ann 12:10-12:30: 1
}

// lateText tells of a late record.
func lateText(key string, l stream.LateRecord[string]) string {
	return fmt.Sprintf("%s of %s is %v late: %s", l.Value, key, l.Behind(), l.Reason)
}

// What is too late to be joined is told of, by side.
func ExampleJoined_LateLeft() {
	topo := stream.New("attribution")
	joined := keyedStrings(topo, "clicks").Join("click-view", keyedStrings(topo, "views"), window.Join{Before: 10 * time.Minute},
		func(click, view string) string { return click + " after " + view })
	joined.To(sink.Kafka("joined", codec.String))
	joined.LateLeft(lateText).Merge(joined.LateRight(lateText)).To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.Advance(noon)
	d.PipeKeyed("clicks", "ann", noon.Add(-time.Minute), "click")
	d.PipeKeyed("views", "ann", noon.Add(-time.Hour), "view")
	printed(d)
	// Output:
	// click of ann is 1m0s late: it was further behind than the join's grace period
	// view of ann is 1h0m0s late: it was further behind than the join's grace period
}

// Of a record that comes further behind than ids are remembered it is not known whether it came before.
func ExampleDeduplicated_Late() {
	topo := stream.New("once")
	once := keyedStrings(topo, "events").Deduplicate("seen", func(s string) string { return s }, time.Hour)
	once.To(sink.Kafka("once", codec.String))
	once.Late(lateText).To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.Advance(noon)
	d.PipeKeyed("events", "k", noon.Add(-2*time.Hour), "e1")
	printed(d)
	// Output: e1 of k is 2h0m0s late: it was further behind than ids are remembered
}

// Patterns are looked for in the order of event time, so that a record behind the watermark is too late.
func ExampleDetected_Late() {
	topo := stream.New("twice")
	found := keyedStrings(topo, "events").Detect("twice", pattern.Begin("a", isText("a")).FollowedBy("again", isText("a")), matchText)
	found.To(sink.Kafka("found", codec.String))
	found.Late(lateText).To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.Advance(noon)
	d.PipeKeyed("events", "k", noon.Add(-time.Second), "a")
	printed(d)
	// Output: a of k is 1s late: the records of its time had been shown to the pattern
}
