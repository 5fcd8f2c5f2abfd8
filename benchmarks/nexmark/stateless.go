package main

import (
	"strconv"
	"time"

	"github.com/millstream-go/millstream/stream"
)

// passThrough, q0: every event.
func passThrough(events stream.Stream[Event], _ time.Duration) stream.Stream[Row] {
	return events.
		Filter(func(e Event) bool { return e.Kind != endKind }).
		Map(func(e Event) Row {
			switch e.Kind {
			case personKind:
				p := e.Person
				return row(0, p.ID, uint64(e.Time), uint64(len(p.Name)), uint64(len(p.Email)), uint64(len(p.Extra)))
			case auctionKind:
				a := e.Auction
				return row(1, a.ID, uint64(e.Time), a.Seller, a.Category, a.Initial, a.Reserve, uint64(a.Expires))
			default:
				b := &e.Bid
				return row(2, b.Auction, b.Bidder, b.Price, uint64(e.Time), uint64(len(*b.Channel)), uint64(len(*b.URL)), uint64(len(*b.Extra)))
			}
		})
}

// currency, q1: every bid, its price in another currency.
func currency(events stream.Stream[Event], _ time.Duration) stream.Stream[Row] {
	return offers(events).
		Map(func(o Offer) Offer { o.Price = o.Price * 908 / 1000; return o }).
		Map(func(o Offer) Row { return row(o.Auction, o.Bidder, o.Price, uint64(o.Time)) })
}

// selection, q2: the bids for some auctions.
func selection(events stream.Stream[Event], _ time.Duration) stream.Stream[Row] {
	return events.
		Filter(func(e Event) bool { return e.Kind == bidKind && e.Bid.Auction%123 == 0 }).
		Map(func(e Event) Row { return row(e.Bid.Auction, e.Bid.Price) })
}

// sideInput, q13: every bid with a value from a table that is loaded at start.
func sideInput(events stream.Stream[Event], _ time.Duration) stream.Stream[Row] {
	side := make(map[uint64]string, 10000)
	for k := range uint64(10000) {
		side[k] = "side-" + strconv.FormatUint(k, 10)
	}
	type enriched struct {
		Offer
		side string
	}
	return offers(events).
		Map(func(o Offer) enriched { return enriched{o, side[o.Auction%10000]} }).
		Map(func(e enriched) Row { return row(e.Auction, e.Bidder, e.Price, uint64(e.Time), text(e.side)) })
}
