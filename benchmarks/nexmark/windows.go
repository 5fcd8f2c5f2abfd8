package main

import (
	"iter"
	"time"

	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

var tenSeconds = window.Tumbling{Size: 10 * time.Second}

// popular is an auction with its bids in a window.
type popular struct{ Auction, Count uint64 }

func (c *coder) popular(p *popular) {
	c.small(&p.Auction)
	c.small(&p.Count)
}

// hotItems, q5: the auctions with the most bids in windows of 10 s that slide by 2 s, all that share the first place.
func hotItems(events stream.Stream[Event], jitter time.Duration) stream.Stream[Row] {
	counted := offers(inTime(events, jitter)).
		KeyBy(func(o Offer) uint64 { return o.Auction }).
		Repartition("bids", stream.Repartitioning{}, offerCodec).
		Window(window.Hopping{Size: 10 * time.Second, Advance: 2 * time.Second}).
		Count("bids-10s").
		OnClose(func(auction uint64, s window.Span, n int64) [3]uint64 {
			return [3]uint64{auction, uint64(n), uint64(s.To)}
		})
	// The counts of one window all come when it closes, with its last millisecond as their time.
	return counted.
		KeyBy(func(c [3]uint64) uint64 { return c[2] }).
		Repartition("counts", stream.Repartitioning{}, codec.Codec[[3]uint64](words[[3]uint64]{"count"})).
		Window(window.Tumbling{Size: 2 * time.Second}).
		Fold("top", func(top *[]popular, c [3]uint64) {
			switch list := *top; {
			case len(list) > 0 && c[1] < list[0].Count:
			case len(list) > 0 && c[1] == list[0].Count:
				*top = append(list, popular{c[0], c[1]})
			default:
				*top = append(list[:0], popular{c[0], c[1]})
			}
		}, codec.Codec[[]popular](fields[[]popular]{"top", func(c *coder, top *[]popular) { list(c, top, (*coder).popular) }})).
		OnClose(func(end uint64, _ window.Span, top []popular) tops { return tops{end, top} }).
		FlatMap(tops.rows)
}

// tops are the first ones of a window.
type tops struct {
	end  uint64
	list []popular
}

func (t tops) rows() iter.Seq[Row] {
	return func(yield func(Row) bool) {
		for _, p := range t.list {
			if !yield(row(p.Auction, p.Count, t.end)) {
				return
			}
		}
	}
}

// higher is the better of two bids: the higher price, then the lower time, auction and bidder.
func higher(a, b Offer) Offer {
	switch {
	case a.Price != b.Price:
		if b.Price > a.Price {
			return b
		}
	case a.Time != b.Time:
		if b.Time < a.Time {
			return b
		}
	case a.Auction != b.Auction:
		if b.Auction < a.Auction {
			return b
		}
	case b.Bidder < a.Bidder:
		return b
	}
	return a
}

func keepHigher(best *Offer, o Offer) { *best = higher(*best, o) }

// highestBid, q7: the highest bid of all in each 10 s, found in two steps so that the first can be shared. The order of the bids
// makes no difference, so that the tasks that read them may find the highest of theirs.
func highestBid(events stream.Stream[Event], jitter time.Duration) stream.Stream[Row] {
	best := func(_ uint64, _ window.Span, o Offer) Offer { return o }
	return offers(inTime(events, jitter)).
		KeyBy(func(o Offer) uint64 { return o.Auction % 16 }).
		Repartition("sixteenths", stream.Repartitioning{}, offerCodec).
		Window(tenSeconds).
		FoldMerge("highest-of-some", keepHigher, keepHigher, offerCodec).
		OnClose(best).
		KeyBy(func(Offer) uint64 { return 0 }).
		Repartition("all", stream.Repartitioning{}, offerCodec).
		Window(tenSeconds).
		FoldMerge("highest", keepHigher, keepHigher, offerCodec).
		OnClose(func(_ uint64, s window.Span, o Offer) Row {
			return row(o.Auction, o.Bidder, o.Price, uint64(o.Time), uint64(s.To))
		})
}

// newcomer is one side of q8: a person, or (Auction set) an auction of that person.
type newcomer struct {
	ID, Auction uint64
	Name        string
}

// opened is what a person has done in a window.
type opened struct {
	Person   bool
	ID       uint64
	Name     string
	Auctions []uint64
	start    uint64
}

// newUsers, q8: persons with the auctions that they opened in the same 10 s.
func newUsers(events stream.Stream[Event], jitter time.Duration) stream.Stream[Row] {
	return inTime(events, jitter).
		Filter(func(e Event) bool { return e.Kind == personKind || e.Kind == auctionKind }).
		Map(func(e Event) newcomer {
			if p := e.Person; p != nil {
				return newcomer{ID: p.ID, Name: p.Name}
			}
			return newcomer{ID: e.Auction.Seller, Auction: e.Auction.ID}
		}).
		KeyBy(func(n newcomer) uint64 { return n.ID }).
		Repartition("newcomers", stream.Repartitioning{}, fields[newcomer]{"newcomer", func(c *coder, n *newcomer) {
			c.numbers(&n.ID, &n.Auction)
			c.text(&n.Name)
		}}).
		Window(tenSeconds).
		Fold("opened", func(o *opened, n newcomer) {
			if n.Auction == 0 {
				o.Person, o.Name = true, n.Name
			} else {
				o.Auctions = append(o.Auctions, n.Auction)
			}
		}, codec.Codec[opened](fields[opened]{"opened", func(c *coder, o *opened) {
			c.flag(&o.Person)
			c.text(&o.Name)
			list(c, &o.Auctions, (*coder).number)
		}})).
		OnClose(func(id uint64, s window.Span, o opened) opened {
			o.ID, o.start = id, uint64(s.From)
			return o
		}).
		Filter(func(o opened) bool { return o.Person }).
		FlatMap(opened.rows)
}

func (o opened) rows() iter.Seq[Row] {
	return func(yield func(Row) bool) {
		for _, a := range o.Auctions {
			if !yield(row(o.ID, text(o.Name), a, o.start)) {
				return
			}
		}
	}
}

// pair is a bidder and an auction.
type pair struct{ Bidder, Auction uint64 }

// later is the later of two bids, then the higher one.
func later(a, b Offer) Offer {
	if b.Time > a.Time || b.Time == a.Time && b.Price > a.Price {
		return b
	}
	return a
}

// lastBid, q18: the last bid of each bidder for each auction in each 10 s.
func lastBid(events stream.Stream[Event], jitter time.Duration) stream.Stream[Row] {
	return offers(inTime(events, jitter)).
		KeyByWith(func(o Offer) pair { return pair{o.Bidder, o.Auction} }, codec.Codec[pair](words[pair]{"pair"})).
		Repartition("bids", stream.Repartitioning{}, offerCodec).
		Window(tenSeconds).
		Reduce("last", later, offerCodec).
		OnClose(func(p pair, s window.Span, o Offer) Row {
			return row(p.Bidder, p.Auction, o.Price, uint64(o.Time), uint64(s.To))
		})
}
