package stream_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

// Two topics as one stream, in the order of their records' times as far as they are at hand.
func ExampleStream_Merge() {
	topo := stream.New("all")
	topo.From(source.Kafka("eu", codec.String)).
		Merge(topo.From(source.Kafka("us", codec.String))).
		Map(strings.ToUpper).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.Pipe("eu", noon, "rome")
	d.Pipe("us", noon, "reno")
	fmt.Println(d.Drain[string]("out"))
	// Output: [ROME RENO]
}

// The largest value of each sensor so far.
func ExampleKeyed_Reduce() {
	topo := stream.New("largest")
	topo.FromKeyed(source.KafkaKeyed("readings", codec.String, codec.Int64)).
		Reduce("largest", func(largest, v int64) int64 { return max(largest, v) }).
		Changes(func(sensor string, largest int64) string { return fmt.Sprint(sensor, " ", largest) }).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("readings", "attic", noon, int64(20), int64(25), int64(22))
	fmt.Println(d.Drain[string]("out"))
	// Output: [attic 20 attic 25 attic 25]
}

// What each side says, and what only one of them says.
func ExampleKeyed_OuterJoin() {
	topo := stream.New("reconciled")
	ours := topo.FromKeyed(source.KafkaKeyed("ours", codec.String, codec.String))
	theirs := topo.FromKeyed(source.KafkaKeyed("theirs", codec.String, codec.String))
	ours.OuterJoin("both", theirs, window.Join{Before: time.Hour, After: time.Hour}, func(a, b *string) string {
		switch {
		case b == nil:
			return *a + ", theirs is missing"
		case a == nil:
			return *b + ", ours is missing"
		}
		return *a + ", " + *b
	}).To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("ours", "1", noon, "10 EUR")
	d.PipeKeyed("ours", "2", noon, "20 EUR")
	d.PipeKeyed("theirs", "2", noon.Add(time.Minute), "20 EUR")
	d.PipeKeyed("theirs", "3", noon.Add(time.Minute), "30 EUR")
	d.Advance(noon.Add(2 * time.Hour))
	for _, line := range d.Drain[string]("out") {
		fmt.Println(line)
	}
	// Output:
	// 20 EUR, 20 EUR
	// 10 EUR, theirs is missing
	// 30 EUR, ours is missing
}

// The newest order of each user, as a table; only large ones are rows.
func ExampleKeyed_ToTable() {
	topo := stream.New("newest")
	topo.FromKeyed(source.KafkaKeyed("orders", codec.String, codec.Int64)).
		ToTable("newest").
		Filter(func(_ string, amount int64) bool { return amount >= 100 }).
		Updates(func(user string, c stream.Change[int64]) string {
			if c.New == nil {
				return user + ": none"
			}
			return fmt.Sprint(user, ": ", *c.New)
		}).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("orders", "ann", noon, int64(150), int64(50), int64(200))
	fmt.Println(d.Drain[string]("out"))
	// Output: [ann: 150 ann: none ann: 200]
}

// Prices and stock side by side, for what has both.
func ExampleTable_Join() {
	topo := stream.New("offers")
	prices := topo.Table(source.KafkaKeyed("prices", codec.String, codec.String), "prices")
	stock := topo.Table(source.KafkaKeyed("stock", codec.String, codec.Int64), "stock")
	prices.Join(stock, func(price string, n int64) string { return fmt.Sprint(n, " at ", price) }).To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("prices", "pen", noon, "2 EUR")
	d.PipeKeyed("stock", "pen", noon, int64(3))
	d.PipeKeyed("prices", "pen", noon, "1 EUR")
	fmt.Println(d.Drain[string]("out"))
	// Output: [3 at 2 EUR 3 at 1 EUR]
}

// A key's records are brought to one place once, and used by two operators.
func ExampleKeyed_Repartition() {
	topo := stream.New("shared")
	byPage := topo.From(source.Kafka("visits", codec.String)).
		KeyBy(func(page string) string { return page }).
		Repartition("by-page", stream.Repartitioning{Partitions: 4})
	show := func(page string, n int64) string { return fmt.Sprint(page, " ", n) }
	byPage.Count("visits").Changes(show).To(sink.Kafka("out", codec.String))
	byPage.Fold("letters", func(n *int64, page string) { *n += int64(len(page)) }).Changes(show).To(sink.Kafka("letters", codec.String))

	d := start(topo)
	d.Pipe("visits", noon, "home", "home")
	fmt.Println(d.Drain[string]("out"), d.Drain[string]("letters"))
	// Output: [home 1 home 2] [home 4 home 8]
}
