package main

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millstream-go/millstream/stream"
)

// query appends the operators of a query to the source. Events are out of order by no more than jitter.
type query func(events stream.Stream[Event], jitter time.Duration) stream.Stream[Row]

// queries are all there are, by name. Each is in a file of its own or of its kind.
var queries = map[string]query{
	"q0": passThrough, "q1": currency, "q2": selection, "q13": sideInput, // stateless.go
	"q3": localItems, "q20": expandBid, // joins.go
	"q9": winningBids, "q4": categoryAverage, // auctions.go
	"q5": hotItems, "q7": highestBid, "q8": newUsers, "q18": lastBid, // windows.go
	"q11": sessions, "q12": processingTime, // bidders.go
}

// names are those of the queries, in the order of their numbers.
func names() (list []string) {
	for name := range queries {
		list = append(list, name)
	}
	number := func(name string) int {
		n, _ := strconv.Atoi(strings.TrimPrefix(name, "q"))
		return n
	}
	slices.SortFunc(list, func(a, b string) int { return number(a) - number(b) })
	return list
}

// inTime gives the events their times.
func inTime(events stream.Stream[Event], jitter time.Duration) stream.Stream[Event] {
	return events.EventTime(Event.At, stream.Watermark{OutOfOrder: jitter})
}

// Offer is what most queries need of a bid.
type Offer struct {
	Auction, Bidder, Price uint64
	Time                   int64
}

var offerCodec = words[Offer]{"offer"}

func (c *coder) offer(o *Offer) {
	c.numbers(&o.Auction, &o.Bidder, &o.Price)
	c.time(&o.Time)
}

// offers are the bids.
func offers(events stream.Stream[Event]) stream.Stream[Offer] {
	return events.
		Filter(func(e Event) bool { return e.Kind == bidKind }).
		Map(func(e Event) Offer { return Offer{e.Bid.Auction, e.Bid.Bidder, e.Bid.Price, e.Time} })
}
