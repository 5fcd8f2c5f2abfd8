package stream_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

// printed prints what has come out.
func printed(d *streamtest.Driver) {
	for _, s := range d.Drain[string]("out") {
		fmt.Println(s)
	}
}

// Clicks are attributed to the views of the ten minutes before them.
func ExampleKeyed_Join() {
	topo := stream.New("attribution")
	user := func(s string) string { user, _, _ := strings.Cut(s, " "); return user }
	clicks := topo.From(source.Kafka("clicks", codec.String)).KeyBy(user)
	views := topo.From(source.Kafka("views", codec.String)).KeyBy(user)
	clicks.Join("click-view", views, window.Join{Before: 10 * time.Minute, Grace: time.Minute},
		func(click, view string) string { return click + " after " + view }).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.Pipe("views", noon, "ann saw A", "bob saw B")
	d.Pipe("clicks", noon.Add(4*time.Minute), "ann clicked")
	d.Pipe("clicks", noon.Add(11*time.Minute), "bob clicked")
	printed(d)
	// Output:
	// ann clicked after ann saw A
}

// Orders that are not paid within an hour.
func ExampleKeyed_LeftJoin() {
	topo := stream.New("unpaid")
	orders := topo.FromKeyed(source.KafkaKeyed("orders", codec.String, codec.String))
	payments := topo.FromKeyed(source.KafkaKeyed("payments", codec.String, codec.String))
	orders.LeftJoin("order-payment", payments, window.Join{After: time.Hour},
		func(order string, payment *string) string {
			if payment == nil {
				return order + ": not paid"
			}
			return order + ": " + *payment
		}).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("orders", "1", noon, "order 1")
	d.PipeKeyed("orders", "2", noon, "order 2")
	d.PipeKeyed("payments", "2", noon.Add(5*time.Minute), "10 EUR")
	d.Advance(noon.Add(2 * time.Hour))
	printed(d)
	// Output:
	// order 2: 10 EUR
	// order 1: not paid
}

// A producer that tries again sends some events twice.
func ExampleKeyed_Deduplicate() {
	topo := stream.New("once")
	topo.From(source.Kafka("events", codec.String)).
		KeyBy(func(s string) string { return s[:1] }).
		Deduplicate("seen", func(s string) string { return s }, time.Hour).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.Pipe("events", noon, "a1", "a2", "a1", "b1")
	d.Pipe("events", noon.Add(2*time.Hour), "a1")
	printed(d)
	// Output:
	// a1
	// a2
	// b1
	// a1
}

// Orders get the name of their customer.
func ExampleKeyed_JoinTable() {
	topo := stream.New("enrich")
	names := topo.Table(source.KafkaKeyed("customers", codec.String, codec.String), "customers")
	topo.FromKeyed(source.KafkaKeyed("orders", codec.String, codec.String)).
		JoinTable("order-customer", names, func(order, name string) string { return order + " for " + name }).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("customers", "c1", noon, "Ann")
	d.PipeKeyed("orders", "c1", noon, "a book")
	d.PipeKeyed("customers", "c1", noon, "Ann Lee")
	d.PipeKeyed("orders", "c1", noon, "a pen")
	printed(d)
	// Output:
	// a book for Ann
	// a pen for Ann Lee
}

// Amounts are converted at the rate of their time, whichever of the two is read first.
func ExampleKeyed_JoinAsOf() {
	topo := stream.New("convert")
	rates := topo.VersionedTable(source.KafkaKeyed("rates", codec.String, codec.Int64), "rates", 24*time.Hour)
	topo.FromKeyed(source.KafkaKeyed("amounts", codec.String, codec.Int64)).
		JoinAsOf("convert", rates, func(amount, rate int64) string { return fmt.Sprint(amount * rate) }).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("rates", "EUR", noon, int64(2))
	d.PipeKeyed("amounts", "EUR", noon.Add(time.Minute), int64(100))
	d.PipeKeyed("rates", "EUR", noon.Add(time.Hour), int64(3))
	d.PipeKeyed("amounts", "EUR", noon.Add(2*time.Hour), int64(100))
	d.Advance(noon.Add(3 * time.Hour))
	printed(d)
	// Output:
	// 200
	// 300
}

// Two tables side by side, a row for each key of the first.
func ExampleTable_LeftJoin() {
	topo := stream.New("profiles")
	names := topo.Table(source.KafkaKeyed("names", codec.String, codec.String), "names")
	visits := topo.From(source.Kafka("visits", codec.String)).KeyBy(func(user string) string { return user }).Count("visits-by-user")
	names.LeftJoin(visits, func(name string, n *int64) string {
		if n == nil {
			return name + ": never"
		}
		return fmt.Sprintf("%s: %d", name, *n)
	}).To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("names", "u1", noon, "Ann")
	d.Pipe("visits", noon, "u1", "u1", "u2")
	printed(d)
	// Output:
	// Ann: never
	// Ann: 1
	// Ann: 2
}

// Users by country: one that moves leaves the old country.
func ExampleTable_GroupBy() {
	topo := stream.New("countries")
	topo.Table(source.KafkaKeyed("users", codec.String, codec.String), "users").
		GroupBy(func(_ string, country string) string { return country }).
		Count("users-by-country").
		Updates(func(country string, n stream.Change[int64]) string {
			if n.New == nil {
				return country + ": nobody"
			}
			return fmt.Sprintf("%s: %d", country, *n.New)
		}).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("users", "ann", noon, "DE")
	d.PipeKeyed("users", "bob", noon, "FR")
	d.PipeKeyed("users", "ann", noon, "FR")
	printed(d)
	// Output:
	// DE: 1
	// FR: 1
	// DE: nobody
	// FR: 2
}
