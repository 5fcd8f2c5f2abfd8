package main

import (
	"time"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

// Payment is a payment by card as the payments topic has it. Amounts are in cents.
type Payment struct {
	Card     string    `json:"card"`
	Cents    int64     `json:"cents"`
	Approved bool      `json:"approved"`
	At       time.Time `json:"at"`
}

// CardID, IsApproved and OccurredAt are what the topology asks of a payment.
func (p Payment) CardID() string        { return p.Card }
func (p Payment) IsApproved() bool      { return p.Approved }
func (p Payment) OccurredAt() time.Time { return p.At }

// Spend is the state kept for each card and window. Its zero value is the empty window.
type Spend struct {
	Payments int64 `json:"payments"`
	Cents    int64 `json:"cents"`
	Largest  int64 `json:"largest"`
}

// Add counts a payment.
func (s *Spend) Add(p Payment) {
	s.Payments++
	s.Cents += p.Cents
	s.Largest = max(s.Largest, p.Cents)
}

// Feature is a result: what a card has spent in one window.
type Feature struct {
	Card  string    `json:"card"`
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	Spend
}

// LatePayment is a payment that came when all its windows had closed.
type LatePayment struct {
	Payment
	Closed    time.Time `json:"closed"`    // the end of the last of them
	Watermark time.Time `json:"watermark"` // that it was judged by
}

// Windows of ten seconds begin every two seconds. A payment may be one second out of order, and a window waits one
// more second for payments that are.
var windows = window.Hopping{Size: 10 * time.Second, Advance: 2 * time.Second, Grace: time.Second}

// topology is the whole application.
func topology(t topics) *stream.Topology {
	topo := stream.New("card-features")

	spend := topo.From(source.Kafka(t.payments, codec.JSON[Payment]())).
		EventTime(Payment.OccurredAt, stream.Watermark{OutOfOrder: time.Second, Idle: 10 * time.Second}).
		Filter(Payment.IsApproved).
		KeyBy(Payment.CardID).
		Window(windows).
		Fold("card-spend", (*Spend).Add)

	spend.OnClose(asFeature).To(sink.Kafka(t.features, codec.JSON[Feature]()))
	spend.Late(asLate).To(sink.Kafka(t.late, codec.JSON[LatePayment]()))
	return topo
}

func asFeature(card string, w window.Span, s Spend) Feature {
	return Feature{card, w.Start(), w.End(), s}
}

func asLate(_ string, l stream.LateRecord[Payment]) LatePayment {
	return LatePayment{l.Value, l.Span.End(), l.Watermark}
}
