package main

import (
	"time"

	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

// span is a session: how many bids, the first and the last.
type span struct {
	Count       uint64
	First, Last int64
}

func (s *span) add(at int64) { s.merge(span{1, at, at}) }

func (s *span) merge(o span) {
	if s.Count == 0 {
		*s = o
		return
	}
	s.Count += o.Count
	s.First, s.Last = min(s.First, o.First), max(s.Last, o.Last)
}

const gap = 10 * time.Second

// sessions, q11: the bids of each bidder in sessions.
func sessions(events stream.Stream[Event], jitter time.Duration) stream.Stream[Row] {
	return offers(inTime(events, jitter)).
		KeyBy(func(o Offer) uint64 { return o.Bidder }).
		MapValues(func(_ uint64, o Offer) int64 { return o.Time }).
		Window(window.Session{Gap: gap}).
		FoldMerge("sessions", (*span).add, func(a *span, b span) { a.merge(b) }, codec.Codec[span](words[span]{"span"})).
		OnClose(func(bidder uint64, _ window.Span, s span) Row {
			return row(bidder, s.Count, uint64(s.First), uint64(s.Last+gap.Milliseconds()))
		})
}

// processingTime, q12: the bids of each bidder in each second of the wall clock. A record's time is when it is read. The
// rows are different in each run, so that a row's hash is just its count: their sum is the number of bids.
func processingTime(events stream.Stream[Event], _ time.Duration) stream.Stream[Row] {
	now := func(e Event) time.Time {
		if e.Kind == endKind { // fires the windows that are open
			return e.At()
		}
		return time.Now()
	}
	return offers(events.EventTime(now, stream.Watermark{})).
		KeyBy(func(o Offer) uint64 { return o.Bidder }).
		MapValues(func(_ uint64, o Offer) int64 { return o.Time }).
		Window(window.Tumbling{Size: time.Second}).
		Count("bids-1s").
		OnClose(func(_ uint64, _ window.Span, n int64) Row { return Row(n) })
}
