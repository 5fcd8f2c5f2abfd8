package main

import (
	"time"

	"github.com/millstream-go/millstream/stream"
)

// Both joins are without bounds in time, and their two sides come from one stream. So they are a Process on that
// stream: one side is kept for ever, what of the other one comes before its match waits.

// seller is one side of q3: a person, or (Auction set) an auction of that person.
type seller struct {
	ID                uint64
	Auction           uint64
	Name, City, State string
}

// local is the state of a person in q3.
type local struct {
	Known             bool
	Name, City, State string
	Waiting           []uint64 // auctions
}

// localItems, q3: auctions of category 10 with their sellers, if those are from Oregon, Idaho or California.
func localItems(events stream.Stream[Event], jitter time.Duration) stream.Stream[Row] {
	type process = stream.Process[uint64, local, Row]
	emit := func(p *process, l *local, auction uint64) {
		p.Emit(row(text(l.Name), text(l.City), text(l.State), auction))
	}
	return inTime(events, jitter).
		Filter(func(e Event) bool {
			switch e.Kind {
			case personKind:
				return e.Person.State == "OR" || e.Person.State == "ID" || e.Person.State == "CA"
			case auctionKind:
				return e.Auction.Category == 10
			}
			return false
		}).
		Map(func(e Event) seller {
			if p := e.Person; p != nil {
				return seller{ID: p.ID, Name: p.Name, City: p.City, State: p.State}
			}
			return seller{ID: e.Auction.Seller, Auction: e.Auction.ID}
		}).
		KeyBy(func(s seller) uint64 { return s.ID }).
		Repartition("sellers", stream.Repartitioning{}, fields[seller]{"seller", func(c *coder, s *seller) {
			c.numbers(&s.ID, &s.Auction)
			if s.Auction == 0 {
				c.text(&s.Name)
				c.text(&s.City)
				c.text(&s.State)
			}
		}}).
		Process("local-items", func(p *process, s seller) {
			l := p.State()
			switch {
			case s.Auction == 0:
				l.Known, l.Name, l.City, l.State = true, s.Name, s.City, s.State
				for _, a := range l.Waiting {
					emit(p, l, a)
				}
				l.Waiting = nil
			case l.Known:
				emit(p, l, s.Auction)
			default:
				l.Waiting = append(l.Waiting, s.Auction)
			}
		}, nil, fields[local]{"local", func(c *coder, l *local) {
			c.flag(&l.Known)
			c.text(&l.Name)
			c.text(&l.City)
			c.text(&l.State)
			list(c, &l.Waiting, (*coder).number)
		}})
}

// sale is one side of q9 and q20: a bid, or (Opens set) the auction itself.
type sale struct {
	Opens bool
	Offer
	Terms
}

// Terms are what is known of an auction.
type Terms struct {
	Category, Seller, Reserve uint64
	Start, Expires            int64
}

func (c *coder) terms(t *Terms) {
	c.numbers(&t.Category, &t.Seller, &t.Reserve)
	c.time(&t.Start)
	c.time(&t.Expires)
}

var saleCodec = fields[sale]{"sale", func(c *coder, s *sale) {
	if c.flag(&s.Opens); s.Opens {
		c.number(&s.Auction)
		c.terms(&s.Terms)
	} else {
		c.offer(&s.Offer)
	}
}}

// sales are the auctions and the bids, by auction.
func sales(events stream.Stream[Event], jitter time.Duration) stream.Keyed[uint64, sale] {
	return inTime(events, jitter).
		Filter(func(e Event) bool { return e.Kind == bidKind || e.Kind == auctionKind }).
		Map(func(e Event) sale {
			if a := e.Auction; a != nil {
				return sale{Opens: true, Offer: Offer{Auction: a.ID}, Terms: Terms{a.Category, a.Seller, a.Reserve, e.Time, a.Expires}}
			}
			return sale{Offer: Offer{e.Bid.Auction, e.Bid.Bidder, e.Bid.Price, e.Time}}
		}).
		KeyBy(func(s sale) uint64 { return s.Auction }).
		Repartition("sales", stream.Repartitioning{}, saleCodec)
}

// lot is the state of an auction in q20.
type lot struct {
	Known bool
	Terms
	Waiting []Offer
}

// expandBid, q20: every bid with its auction, if that is of category 10.
func expandBid(events stream.Stream[Event], jitter time.Duration) stream.Stream[Row] {
	type process = stream.Process[uint64, lot, Row]
	emit := func(p *process, l *lot, o Offer) {
		if l.Category == 10 {
			p.Emit(row(o.Auction, o.Bidder, o.Price, uint64(o.Time), l.Seller, l.Reserve, l.Category))
		}
	}
	return sales(events, jitter).
		Process("auctions", func(p *process, s sale) {
			if l, ok := p.Get(); ok && l.Known { // the common case; it changes nothing
				emit(p, &l, s.Offer)
				return
			}
			l := p.State()
			if !s.Opens {
				l.Waiting = append(l.Waiting, s.Offer)
				return
			}
			l.Known, l.Terms = true, s.Terms
			for _, o := range l.Waiting {
				emit(p, l, o)
			}
			l.Waiting = nil
		}, nil, fields[lot]{"lot", func(c *coder, l *lot) {
			c.flag(&l.Known)
			c.terms(&l.Terms)
			list(c, &l.Waiting, (*coder).offer)
		}})
}
