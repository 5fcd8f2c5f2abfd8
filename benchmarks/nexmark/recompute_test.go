package main

import (
	"maps"
	"slices"
)

// What the queries should give, from their definitions and all events at once: maps and loops, no engine.

// result is the number of rows and the sum of their hashes.
type result struct{ rows, sum uint64 }

func (r *result) add(h Row) { r.rows, r.sum = r.rows+1, r.sum+uint64(h) }

// recompute returns the results of all queries but q12.
func recompute(events, jitter uint64) map[string]result {
	g := newGenerator(jitter)
	var bids []Offer
	opens := map[uint64]Event{} // auctions
	persons := map[uint64]Event{}
	all := map[string]*result{}
	add := func(query string, h Row) {
		if all[query] == nil {
			all[query] = &result{}
		}
		all[query].add(h)
	}
	for n := range events {
		var e Event
		g.event(n, &e)
		switch e.Kind {
		case personKind:
			p := e.Person
			persons[p.ID] = e
			add("q0", row(0, p.ID, uint64(e.Time), uint64(len(p.Name)), uint64(len(p.Email)), uint64(len(p.Extra))))
		case auctionKind:
			a := e.Auction
			opens[a.ID] = e
			add("q0", row(1, a.ID, uint64(e.Time), a.Seller, a.Category, a.Initial, a.Reserve, uint64(a.Expires)))
		default:
			b := e.Bid
			bids = append(bids, Offer{b.Auction, b.Bidder, b.Price, e.Time})
			add("q0", row(2, b.Auction, b.Bidder, b.Price, uint64(e.Time), uint64(len(*b.Channel)), uint64(len(*b.URL)), uint64(len(*b.Extra))))
		}
	}
	end := func(t int64) uint64 { return uint64(t - t%10000 + 10000) }

	best := map[uint64]Offer{} // of each auction
	counts := map[uint64]map[uint64]uint64{}
	highest := map[uint64]Offer{}
	last := map[[3]uint64]Offer{}
	times := map[uint64][]int64{} // by bidder
	for _, b := range bids {
		add("q1", row(b.Auction, b.Bidder, b.Price*908/1000, uint64(b.Time)))
		if b.Auction%123 == 0 {
			add("q2", row(b.Auction, b.Price))
		}
		add("q13", row(b.Auction, b.Bidder, b.Price, uint64(b.Time), text("side-"+decimal(b.Auction%10000))))
		for start := b.Time - b.Time%2000; start > b.Time-10000; start -= 2000 {
			w := uint64(start + 10000)
			if counts[w] == nil {
				counts[w] = map[uint64]uint64{}
			}
			counts[w][b.Auction]++
		}
		w := end(b.Time)
		if o, ok := highest[w]; !ok || beats(b, o) {
			highest[w] = b
		}
		k := [3]uint64{b.Bidder, b.Auction, w}
		if o, ok := last[k]; !ok || b.Time > o.Time || b.Time == o.Time && b.Price > o.Price {
			last[k] = b
		}
		times[b.Bidder] = append(times[b.Bidder], b.Time)
		e, ok := opens[b.Auction]
		if !ok {
			continue
		}
		a := e.Auction
		if a.Category == 10 {
			add("q20", row(b.Auction, b.Bidder, b.Price, uint64(b.Time), a.Seller, a.Reserve, 10))
		}
		if b.Time >= e.Time && b.Time < a.Expires && b.Price >= a.Reserve {
			if o, ok := best[a.ID]; !ok || beats(b, o) {
				best[a.ID] = b
			}
		}
	}
	for id, e := range opens {
		a := e.Auction
		p, ok := persons[a.Seller]
		if !ok {
			continue
		}
		if s := p.Person.State; a.Category == 10 && (s == "OR" || s == "ID" || s == "CA") {
			add("q3", row(text(p.Person.Name), text(p.Person.City), text(s), id))
		}
		if end(p.Time) == end(e.Time) {
			add("q8", row(p.Person.ID, text(p.Person.Name), id, end(e.Time)-10000))
		}
	}
	sums := map[[2]uint64][2]uint64{}
	for id, b := range best {
		a := opens[id].Auction
		add("q9", row(id, a.Category, a.Seller, b.Bidder, b.Price, uint64(b.Time), uint64(a.Expires)))
		k := [2]uint64{a.Category, end(a.Expires)}
		sums[k] = [2]uint64{sums[k][0] + 1, sums[k][1] + b.Price}
	}
	for k, s := range sums {
		add("q4", row(k[0], k[1], s[0], s[1]/s[0]))
	}
	for w, m := range counts {
		top := uint64(0)
		for n := range maps.Values(m) {
			top = max(top, n)
		}
		for a, n := range m {
			if n == top {
				add("q5", row(a, n, w))
			}
		}
	}
	for w, b := range highest {
		add("q7", row(b.Auction, b.Bidder, b.Price, uint64(b.Time), w))
	}
	for k, b := range last {
		add("q18", row(b.Bidder, b.Auction, b.Price, uint64(b.Time), k[2]))
	}
	for bidder, at := range times {
		slices.Sort(at)
		first, n := at[0], uint64(0)
		for i, t := range at {
			n++
			if i == len(at)-1 || at[i+1] > t+10000 {
				add("q11", row(bidder, n, uint64(first), uint64(t+10000)))
				if n = 0; i < len(at)-1 {
					first = at[i+1]
				}
			}
		}
	}
	out := map[string]result{}
	for q, r := range all {
		out[q] = *r
	}
	return out
}

// beats is the order of bids: price, then the lower time, auction, bidder.
func beats(a, b Offer) bool {
	x, y := [4]uint64{^a.Price, uint64(a.Time), a.Auction, a.Bidder}, [4]uint64{^b.Price, uint64(b.Time), b.Auction, b.Bidder}
	for i := range x {
		if x[i] != y[i] {
			return x[i] < y[i]
		}
	}
	return false
}

// decimal writes a number in digits.
func decimal(n uint64) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return decimal(n/10) + decimal(n%10)
}
