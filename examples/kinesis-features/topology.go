package main

import (
	"fmt"
	"time"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

// Payment is a payment by card as the stream of payments has it. Amounts are in cents.
type Payment struct {
	Card     string    `json:"card"`
	Cents    int64     `json:"cents"`
	Approved bool      `json:"approved"`
	At       time.Time `json:"at"`
}

// What the topology asks of a payment.
func (p Payment) card() string          { return p.Card }
func (p Payment) isApproved() bool      { return p.Approved }
func (p Payment) occurredAt() time.Time { return p.At }

// Spend is the state kept for each card and window. Its zero value is the empty window.
type Spend struct {
	Payments int64 `json:"payments"`
	Cents    int64 `json:"cents"`
	Largest  int64 `json:"largest"`
}

// add counts a payment.
func (s *Spend) add(p Payment) {
	s.Payments++
	s.Cents += p.Cents
	s.Largest = max(s.Largest, p.Cents)
}

// Feature is a result: what a card has spent from Start until before End. After a crash some are written again, with the same ID.
type Feature struct {
	ID     string    `json:"id"`
	Card   string    `json:"card"`
	Window string    `json:"window"` // trailing or hopping
	Start  time.Time `json:"start"`
	End    time.Time `json:"end"`
	Spend
}

var (
	// Each payment has what its card has spent in the five seconds before it, itself included: what a model asks that is to judge it.
	trailing = window.Trailing{Size: 5 * time.Second}
	// Every two seconds there is what each card has spent in the last ten.
	hopping = window.Hopping{Size: 10 * time.Second, Advance: 2 * time.Second}
)

// names are those of the application and the streams.
type names struct{ app, payments, features string }

func namesOf(prefix string) names {
	return names{prefix + "app", prefix + "payments", prefix + "by-card"}
}

// topology is the whole application. A payment may be a second out of order within its shard. Time goes on, and windows are closed, in a shard
// that brings nothing for two seconds and is known to have nothing more.
func topology(n names) *stream.Topology {
	topo := stream.New("kinesis-features")
	byCard := topo.From(source.Kinesis(n.payments, codec.JSON[Payment]())).
		EventTime(Payment.occurredAt, stream.Watermark{OutOfOrder: time.Second, Proven: 2 * time.Second}).
		Filter(Payment.isApproved).
		KeyBy(Payment.card).
		Repartition("by-card", stream.Repartitioning{}) // once for both kinds of windows

	byCard.Window(trailing).Fold("before-payment", (*Spend).add).OnClose(featureOf("trailing")).
		To(sink.Kinesis(n.features, codec.JSON[Feature]()))
	byCard.Window(hopping).Fold("lately", (*Spend).add).OnClose(featureOf("hopping")).
		To(sink.Kinesis(n.features, codec.JSON[Feature]()))
	return topo
}

func featureOf(kind string) func(string, window.Span, Spend) Feature {
	return func(card string, w window.Span, s Spend) Feature {
		return Feature{fmt.Sprintf("%s/%s/%d", kind, card, w.End().UnixMilli()), card, kind, w.Start(), w.End(), s}
	}
}
