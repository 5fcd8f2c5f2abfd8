package stream_test

import (
	"fmt"
	"time"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

func orNone(v *string) string {
	if v == nil {
		return "none"
	}
	return *v
}

// A row that the filter does not let through any more is deleted.
func ExampleTable_Filter() {
	topo := stream.New("stock")
	topo.Table(source.KafkaKeyed("stock", codec.String, codec.Int64), "stock").
		EventTime(func(int64) time.Time { return noon }, stream.Watermark{}).
		Filter(func(_ string, n int64) bool { return n > 0 }).
		MapValues(func(item string, n int64) string { return fmt.Sprint(n, " ", item) }).
		Updates(func(_ string, c stream.Change[string]) string { return orNone(c.Old) + " > " + orNone(c.New) }).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("stock", "pears", noon, int64(3), int64(0))
	printed(d)
	// Output:
	// none > 3 pears
	// 3 pears > none
}

// A row for each key that either table has.
func ExampleTable_OuterJoin() {
	topo := stream.New("addresses")
	home := topo.Table(source.KafkaKeyed("home", codec.String, codec.String), "home").
		Watermark(stream.Watermark{Idle: time.Minute})
	work := topo.Table(source.KafkaKeyed("work", codec.String, codec.String), "work")
	home.OuterJoin(work, func(home, work *string) string { return "home " + orNone(home) + ", work " + orNone(work) }).
		ToStream().
		Map(func(user, text string) string { return user + ": " + text }).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("work", "ann", noon, "Harbour 3")
	d.PipeKeyed("home", "ann", noon, "Hill 1")
	d.PipeKeyed("home", "bob", noon, "Hill 2")
	printed(d)
	// Output:
	// ann: home none, work Harbour 3
	// ann: home Hill 1, work Harbour 3
	// bob: home Hill 2, work none
}

// Orders of customers that are not known yet.
func ExampleKeyed_LeftJoinTable() {
	topo := stream.New("enrich")
	names := topo.Table(source.KafkaKeyed("customers", codec.String, codec.String), "customers")
	keyedStrings(topo, "orders").
		LeftJoinTable("order-customer", names, func(order string, name *string) string { return order + " for " + orNone(name) }).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("orders", "c1", noon, "a book")
	d.PipeKeyed("customers", "c1", noon, "Ann")
	d.PipeKeyed("orders", "c1", noon, "a pen")
	printed(d)
	// Output:
	// a book for none
	// a pen for Ann
}

// Orders with the name of the customer that they name, as soon as there is one.
func ExampleTable_LeftJoinForeign() {
	type order struct{ Item, Customer string }
	topo := stream.New("orders")
	orders := topo.Table(source.KafkaKeyed("orders", codec.String, codec.JSON[order]()), "orders")
	customers := topo.Table(source.KafkaKeyed("customers", codec.String, codec.String), "customers")
	orders.LeftJoinForeign("order-customer", customers, func(_ string, o order) (string, bool) { return o.Customer, true },
		func(o order, name *string) string { return o.Item + " for " + orNone(name) }).
		Changes(func(id, text string) string { return id + ": " + text }).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("orders", "1", noon, order{"book", "c1"})
	d.PipeKeyed("customers", "c1", noon, "Ann")
	printed(d)
	// Output:
	// 1: book for none
	// 1: book for Ann
}

// What is in the carts of a shop: a cart that changes is taken out of the sums, and put in anew.
func ExampleGrouped_Fold() {
	type cart struct {
		Shop string
		Sum  int64
	}
	topo := stream.New("carts")
	byShop := topo.Table(source.KafkaKeyed("carts", codec.String, codec.JSON[cart]()), "carts").
		GroupBy(func(_ string, c cart) string { return c.Shop })
	sums := byShop.Fold("sum-by-shop", func(sum *int64, c cart) { *sum += c.Sum }, func(sum *int64, c cart) { *sum -= c.Sum })
	sums.Changes(func(shop string, sum int64) string { return fmt.Sprint(shop, ": ", sum) }).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("carts", "ann", noon, cart{"A", 10})
	d.PipeKeyed("carts", "bob", noon, cart{"A", 5})
	d.PipeKeyed("carts", "ann", noon, cart{"A", 2})
	printed(d)
	// Output:
	// A: 10
	// A: 15
	// A: 7
}

// How many there are of each, as rows come and go.
func ExampleGrouped_Count() {
	topo := stream.New("levels")
	topo.Table(source.KafkaKeyed("levels", codec.String, codec.String), "levels").
		GroupBy(func(_, level string) string { return level }).
		Count("users-by-level").
		Changes(func(level string, n int64) string { return fmt.Sprint(level, ": ", n) }).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("levels", "ann", noon, "gold")
	d.PipeKeyed("levels", "bob", noon, "gold")
	d.PipeKeyed("levels", "bob", noon, "silver")
	printed(d)
	// Output:
	// gold: 1
	// gold: 2
	// gold: 1
	// silver: 1
}

// A table of versions is a plain table as well. Where it changes rarely, streams that are joined with it should not wait for it.
func ExampleVersionedTable_Latest() {
	topo := stream.New("rates")
	topo.VersionedTable(source.KafkaKeyed("rates", codec.String, codec.Int64), "rates", time.Hour).
		Watermark(stream.Watermark{Idle: time.Minute}).
		Latest().
		Changes(func(k string, rate int64) string { return fmt.Sprint(k, " ", rate) }).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("rates", "EUR", noon.Add(time.Minute), int64(3))
	d.PipeKeyed("rates", "EUR", noon, int64(2)) // an older version is not the latest
	printed(d)
	// Output: EUR 3
}

// A version that comes too late to be one does not disappear.
func ExampleVersionedTable_Late() {
	topo := stream.New("rates")
	rates := topo.VersionedTable(source.KafkaKeyed("rates", codec.String, codec.Int64), "rates", time.Hour).
		EventTime(func(rate int64) time.Time { return noon.Add(time.Duration(rate) * time.Minute) }, stream.Watermark{})
	late := rates.Late(func(k string, r stream.LateRecord[*int64]) string {
		return fmt.Sprintf("%s %d of %s is %v late: %s", k, *r.Value, r.Time.Format("15:04"), r.Behind(), r.Reason)
	})
	rates.Latest().Changes(func(k string, rate int64) string { return fmt.Sprint(k, " ", rate) }).Merge(late).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("rates", "EUR", noon.Add(24*time.Hour), int64(100), int64(130), int64(60))
	printed(d)
	// Output:
	// EUR 100
	// EUR 130
	// EUR 60 of 13:00 is 1h10m0s late: it was further behind than the history of the table
}

// An amount of a time before the first rate has none; one that comes too late is told of.
func ExampleKeyed_LeftJoinAsOf() {
	topo := stream.New("convert")
	rates := topo.VersionedTable(source.KafkaKeyed("rates", codec.String, codec.Int64), "rates", time.Hour)
	amounts := topo.FromKeyed(source.KafkaKeyed("amounts", codec.String, codec.Int64))
	amounts.LeftJoinAsOf("convert", rates, func(amount int64, rate *int64) string {
		if rate == nil {
			return fmt.Sprint(amount, ", not converted")
		}
		return fmt.Sprint(amount * *rate)
	}).To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("amounts", "EUR", noon.Add(-time.Minute), int64(100))
	d.PipeKeyed("rates", "EUR", noon, int64(2))
	d.PipeKeyed("amounts", "EUR", noon, int64(100))
	d.Advance(noon.Add(time.Hour))
	printed(d)
	// Output:
	// 100, not converted
	// 200
}

// Under Kafka Streams' rules (Config.Semantics) records wait for versions for the grace period; by default for the watermark.
// What comes more than the table's history behind the watermark is late.
func ExampleAsOf_Late() {
	topo := stream.New("convert")
	rates := topo.VersionedTable(source.KafkaKeyed("rates", codec.String, codec.Int64), "rates", time.Hour)
	joined := topo.FromKeyed(source.KafkaKeyed("amounts", codec.String, codec.Int64)).
		JoinAsOf("convert", rates, func(amount, rate int64) string { return fmt.Sprint(amount * rate) }).
		Grace(time.Minute)
	joined.To(sink.Kafka("converted", codec.String))
	joined.Late(func(k string, r stream.LateRecord[int64]) string {
		return fmt.Sprintf("%d %s is %v late: %s", r.Value, k, r.Behind(), r.Reason)
	}).To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("rates", "EUR", noon, int64(2))
	d.PipeKeyed("amounts", "EUR", noon, int64(100))
	d.Advance(noon.Add(3 * time.Hour))
	d.PipeKeyed("amounts", "EUR", noon.Add(time.Hour), int64(7))
	printed(d)
	// Output:
	// 7 EUR is 2h0m0s late: it was further behind than the history of the table
}

// Two streams make one aggregate, in windows: how many of those who came have paid.
func ExampleCogrouped_Window() {
	type visits struct{ Came, Paid int64 }
	topo := stream.New("conversion")
	came := keyedStrings(topo, "came").Cogroup(func(v *visits, _ string) { v.Came++ }).
		With(keyedStrings(topo, "paid"), func(v *visits, _ string) { v.Paid++ })
	came.Fold("ever").Changes(func(shop string, v visits) string { return fmt.Sprintf("%s: %d of %d", shop, v.Paid, v.Came) }).
		To(sink.Kafka("ever", codec.String))
	came.Window(window.Tumbling{Size: time.Hour}).
		Fold("by-hour").
		OnClose(func(shop string, s window.Span, v visits) string {
			return fmt.Sprintf("%s %s: %d of %d", shop, s.Start().Format("15:04"), v.Paid, v.Came)
		}).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("came", "A", noon, "ann", "bob")
	d.PipeKeyed("paid", "A", noon.Add(time.Minute), "bob")
	d.PipeKeyed("came", "A", noon.Add(90*time.Minute), "cyd")
	d.Advance(noon.Add(2 * time.Hour))
	printed(d)
	fmt.Println(d.Drain[string]("ever"))
	// Output:
	// A 12:00: 1 of 2
	// A 13:00: 0 of 1
	// [A: 0 of 1 A: 0 of 2 A: 1 of 2 A: 1 of 3]
}

// Sessions of several streams say how two of them become one.
func ExampleCogroupedWindows_FoldMerge() {
	type events struct{ Clicks, Buys int64 }
	topo := stream.New("sessions")
	byUser := keyedStrings(topo, "clicks").Cogroup(func(e *events, _ string) { e.Clicks++ }).
		With(keyedStrings(topo, "buys"), func(e *events, _ string) { e.Buys++ })
	shown := func(user string, s window.Span, e events) string {
		return fmt.Sprintf("%s %s-%s: %d clicks, %d buys", user, s.Start().Format("15:04"), s.End().Format("15:04"), e.Clicks, e.Buys)
	}
	byUser.Window(window.Session{Gap: 10 * time.Minute}).
		FoldMerge("sessions", func(a *events, b events) { a.Clicks, a.Buys = a.Clicks+b.Clicks, a.Buys+b.Buys }).
		OnClose(shown).
		To(sink.Kafka("out", codec.String))
	byUser.Window(window.Tumbling{Size: time.Hour}).Fold("hours").OnClose(shown).To(sink.Kafka("hours", codec.String))

	d := start(topo)
	d.PipeKeyed("clicks", "ann", noon, "a")
	d.PipeKeyed("clicks", "ann", noon.Add(15*time.Minute), "b")
	d.PipeKeyed("buys", "ann", noon.Add(8*time.Minute), "c")
	d.Advance(noon.Add(time.Hour))
	printed(d)
	fmt.Println(d.Drain[string]("hours"))
	// Output:
	// ann 12:00-12:25: 2 clicks, 1 buys
	// [ann 12:00-13:00: 2 clicks, 1 buys]
}
