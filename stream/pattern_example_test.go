package stream_test

import (
	"fmt"
	"time"

	"github.com/millstream-go/millstream/pattern"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// Cards that are tried with small sums before a large one.
func ExampleKeyed_Detect() {
	type payment struct {
		Card string
		Sum  int
	}
	topo := stream.New("fraud")
	tried := pattern.Begin("small", func(p payment) bool { return p.Sum < 10 }).Times(2).Consecutive().
		Next("large", func(p payment) bool { return p.Sum > 500 }).
		Where(func(p payment, so pattern.Match[payment]) bool {
			first, _ := so.First("small")
			return p.Sum > 100*first.Sum
		}).
		Within(10 * time.Minute)
	topo.From(source.Kafka("payments", codec.JSON[payment]())).
		KeyBy(func(p payment) string { return p.Card }).
		Detect("tried", tried, func(card string, m pattern.Match[payment]) string {
			large, _ := m.First("large")
			return fmt.Sprintf("card %s: %d after %d small ones", card, large.Sum, m.Count("small"))
		}).
		To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.Pipe("payments", noon, payment{"1", 5}, payment{"2", 3})
	d.Pipe("payments", noon.Add(time.Minute), payment{"1", 7}, payment{"2", 20})
	d.Pipe("payments", noon.Add(2*time.Minute), payment{"1", 900}, payment{"2", 800})
	d.Advance(noon.Add(time.Hour))
	printed(d)
	// Output:
	// card 1: 900 after 2 small ones
}

// Orders that are not paid within a day.
func ExampleDetected_TimedOut() {
	topo := stream.New("orders")
	is := func(what string) func(string) bool { return func(v string) bool { return v == what } }
	paid := topo.FromKeyed(source.KafkaKeyed("orders", codec.String, codec.String)).
		Detect("paid", pattern.Begin("ordered", is("ordered")).FollowedBy("paid", is("paid")).Within(24*time.Hour),
			func(order string, m pattern.Match[string]) string {
				return fmt.Sprintf("%s paid after %v", order, m.End().Sub(m.Start()))
			})
	unpaid := paid.TimedOut(func(order string, _ pattern.Match[string]) string { return order + " not paid" })
	paid.Map(func(_, text string) string { return text }).Merge(unpaid).To(sink.Kafka("out", codec.String))

	d := start(topo)
	d.PipeKeyed("orders", "order 1", noon, "ordered")
	d.PipeKeyed("orders", "order 2", noon, "ordered")
	d.PipeKeyed("orders", "order 1", noon.Add(time.Hour), "paid")
	d.Advance(noon.Add(48 * time.Hour))
	printed(d)
	// Output:
	// order 1 paid after 1h0m0s
	// order 2 not paid
}
