package main

import (
	"slices"
	"time"

	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

// bidding is the state of an auction that is open, and of one that bids came for before it.
type bidding struct {
	Known bool
	Terms
	Sold  bool
	Best  Offer
	Early []Offer // bids for an auction that has not opened
}

// offer takes a valid bid into account: the highest price wins, then the lowest time, then the lowest bidder.
func (b *bidding) offer(o Offer) {
	if o.Time < b.Start || o.Time >= b.Expires || o.Price < b.Reserve {
		return
	}
	best := &b.Best
	if !b.Sold || o.Price > best.Price || o.Price == best.Price && (o.Time < best.Time || o.Time == best.Time && o.Bidder < best.Bidder) {
		b.Sold, b.Best = true, o
	}
}

// winner is an auction that was sold.
type winner struct {
	Terms
	Offer
}

// winners are the auctions that were sold, each when it expires.
func winners(events stream.Stream[Event], jitter time.Duration) stream.Stream[winner] {
	type process = stream.Process[uint64, bidding, winner]
	return sales(events, jitter).
		Process("bidding", func(p *process, s sale) {
			b := p.State()
			switch {
			case s.Opens:
				b.Known, b.Terms = true, s.Terms
				p.SetTimer(time.UnixMilli(s.Expires))
				for _, o := range b.Early {
					b.offer(o)
				}
				b.Early = nil
			case b.Known:
				b.offer(s.Offer)
			default:
				b.Early = append(b.Early, s.Offer)
				p.SetTimer(time.UnixMilli(s.Time))
			}
		}, func(p *process, t stream.Timer) {
			b, ok := p.Get()
			switch {
			case !ok:
			case !b.Known: // no auction with a time up to this one will come
				if b.Early = slices.DeleteFunc(b.Early, func(o Offer) bool { return o.Time <= t.At.UnixMilli() }); len(b.Early) == 0 {
					p.Clear()
				} else {
					p.State().Early = b.Early
				}
			case b.Expires == t.At.UnixMilli():
				p.Clear()
				if b.Sold {
					p.Emit(winner{b.Terms, b.Best})
				}
			}
		}, fields[bidding]{"bidding", func(c *coder, b *bidding) {
			c.flag(&b.Known)
			c.terms(&b.Terms)
			c.flag(&b.Sold)
			c.offer(&b.Best)
			list(c, &b.Early, (*coder).offer)
		}})
}

// winningBids, q9: the best bid of each auction.
func winningBids(events stream.Stream[Event], jitter time.Duration) stream.Stream[Row] {
	return winners(events, jitter).Map(func(w winner) Row {
		return row(w.Auction, w.Category, w.Seller, w.Bidder, w.Price, uint64(w.Time), uint64(w.Expires))
	})
}

// total is a sum and of how many.
type total struct{ Count, Sum uint64 }

// categoryAverage, q4: the average of the winning bids, by category and 10 s of the time at which auctions expire.
func categoryAverage(events stream.Stream[Event], jitter time.Duration) stream.Stream[Row] {
	return winners(events, jitter).
		Map(func(w winner) [2]uint64 { return [2]uint64{w.Category, w.Price} }).
		KeyBy(func(p [2]uint64) uint64 { return p[0] }).
		Repartition("categories", stream.Repartitioning{}, codec.Codec[[2]uint64](words[[2]uint64]{"pair"})).
		Window(window.Tumbling{Size: 10 * time.Second}).
		Fold("averages", func(t *total, p [2]uint64) { t.Count, t.Sum = t.Count+1, t.Sum+p[1] },
			codec.Codec[total](words[total]{"total"})).
		OnClose(func(category uint64, s window.Span, t total) Row {
			return row(category, uint64(s.To), t.Count, t.Sum/t.Count)
		})
}
