package main

import (
	"math/bits"
	"strconv"
	"time"
)

// The generator of MNX1 (peers/flink/NEXMARK.md), bit for bit: event n is made from n alone.

const (
	golden = 0x9E3779B97F4A7C15
	seed   = 0x4D494C4C53544F4E
	base   = 1577836800000 // event time of event 0, in ms
)

// kind is what an event is.
type kind uint8

const (
	personKind kind = iota
	auctionKind
	bidKind
	// endKind is no event of the workload: it comes last in each partition and moves the watermark beyond all windows.
	endKind
)

// endTime is the event time of an event of endKind: the year 2200.
const endTime = 7258118400000

// Event is a person, an auction or a bid.
type Event struct {
	Kind    kind
	Time    int64 // event time, in ms
	Bid     Bid
	Person  *Person
	Auction *Auction
}

// At is the event time.
func (e Event) At() time.Time { return time.UnixMilli(e.Time) }

// Person is somebody who sells or bids.
type Person struct {
	ID                                    uint64
	Name, Email, Card, City, State, Extra string
}

// Auction is something for sale.
type Auction struct {
	ID               uint64
	Item, Desc       string
	Initial, Reserve uint64
	Expires          int64
	Seller, Category uint64
	Extra            string
}

// Bid is an offer for an auction. Its texts are the generator's own.
type Bid struct {
	Auction, Bidder, Price uint64
	Channel, URL, Extra    *string
}

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// rng is splitmix64.
type rng uint64

func (r *rng) below(k uint64) uint64 {
	*r += golden
	return (mix(uint64(*r)) >> 33) % k
}

// A division by a number that the compiler knows costs a fraction of one by any number, and most of these are known.

func (r *rng) price() uint64 {
	k := r.below(20)
	*r += golden
	return 100 + 1<<k + mix(uint64(*r))>>33&(1<<k-1)
}

// person is a recent person, or one of the next ten.
func (r *rng) person(p uint64) uint64 {
	if p < 999 {
		return r.below(p + 11)
	}
	return p - 999 + r.below(1010)
}

// auction is one of the last hundred auctions, or of the next ten.
func (r *rng) auction(a uint64) uint64 {
	if a < 99 {
		return r.below(a + 11)
	}
	return a - 99 + r.below(110)
}

// divisor divides by multiplying (D. Lemire, O. Kaser, N. Kurz: Faster remainder by direct computation, 2019).
type divisor struct {
	by    uint32
	scale uint64
}

func newDivisor(by uint32) divisor { return divisor{by, ^uint64(0)/uint64(by) + 1} }

func (d *divisor) rest(n uint32) uint64 {
	hi, _ := bits.Mul64(d.scale*uint64(n), uint64(d.by))
	return hi
}

// generator makes events. It is not changed after newGenerator.
type generator struct {
	early divisor // one more than the ms by which a time may be earlier

	names                                           [99]string
	email, card, pextra, item, desc, aextra, bextra [1024]string
	url, channel                                    [10004]string
	city                                            [10]string
	state                                           [6]string
}

// newGenerator makes the pools of strings.
func newGenerator(jitter uint64) *generator {
	g := &generator{early: newDivisor(uint32(jitter) + 1),
		city:  [10]string{"Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"},
		state: [6]string{"AZ", "CA", "ID", "OR", "WA", "WY"}}
	for a, first := range []string{"Ada", "Bram", "Cleo", "Dov", "Elif", "Finn", "Gita", "Hugo", "Iris", "Jun", "Kaya"} {
		for b, last := range []string{"Abbot", "Berg", "Costa", "Dietz", "Evans", "Farkas", "Grant", "Haas", "Ito"} {
			g.names[a*9+b] = first + " " + last
		}
	}
	for i := range uint64(1024) {
		g.email[i] = letters(1, i, 7) + "@" + letters(2, i, 5) + ".com"
		r := rng(mix(3<<32 | i))
		var card []byte
		for k := range 16 {
			if k > 0 && k%4 == 0 {
				card = append(card, ' ')
			}
			card = append(card, '0'+byte(r.below(10)))
		}
		g.card[i] = string(card)
		g.pextra[i], g.item[i], g.desc[i] = letters(4, i, 60), letters(5, i, 20), letters(6, i, 100)
		g.aextra[i], g.bextra[i] = letters(7, i, 200), letters(11, i, 24)
	}
	hot := []string{"alpha", "bravo", "charlie", "delta"}
	for i := range uint64(10004) {
		g.url[i] = "https://example.com/" + letters(8, i, 5) + "/" + letters(9, i, 5) + "/" + letters(10, i, 5) + "/item.htm?query=1"
		if i < 10000 {
			g.channel[i] = "channel-" + strconv.FormatUint(i, 10)
		} else {
			g.channel[i] = hot[i-10000]
		}
	}
	return g
}

// letters is element i of a pool: so many letters.
func letters(pool, i uint64, n int) string {
	r := rng(mix(pool<<32 | i))
	b := make([]byte, n)
	for k := range b {
		b[k] = 'a' + byte(r.below(26))
	}
	return string(b)
}

// event makes event n of an empty one. The order of the draws is part of the workload.
func (g *generator) event(n uint64, e *Event) {
	epoch, o := n/50, n%50
	s0 := mix(seed + n)
	r := rng(s0)
	e.Time = base + int64(n/10)
	if g.early.by > 1 {
		e.Time -= int64(g.early.rest(uint32(mix(s0^0x4A) >> 33)))
	}
	switch {
	case o == 0:
		p := &Person{ID: 1000 + epoch}
		first := r.below(11)
		p.Name = g.names[first*9+r.below(9)]
		p.Email = g.email[r.below(1024)]
		p.Card = g.card[r.below(1024)]
		p.City = g.city[r.below(10)]
		p.State = g.state[r.below(6)]
		p.Extra = g.pextra[r.below(1024)]
		e.Kind, e.Person = personKind, p
	case o < 4:
		a := &Auction{ID: 1000 + epoch*3 + o - 1}
		a.Item = g.item[r.below(1024)]
		a.Desc = g.desc[r.below(1024)]
		a.Initial = r.price()
		a.Reserve = a.Initial + r.price()
		a.Expires = e.Time + 1000 + int64(r.below(9000))
		if r.below(4) > 0 {
			a.Seller = 1000 + epoch/100*100
		} else {
			a.Seller = 1000 + r.person(epoch)
		}
		a.Category = 10 + r.below(5)
		a.Extra = g.aextra[r.below(1024)]
		e.Kind, e.Auction = auctionKind, a
	default:
		b := &e.Bid
		last := epoch*3 + 2
		if r.below(2) > 0 {
			b.Auction = 1000 + last/100*100
		} else {
			b.Auction = 1000 + r.auction(last)
		}
		if r.below(4) > 0 {
			b.Bidder = 1000 + epoch/100*100 + 1
		} else {
			b.Bidder = 1000 + r.person(epoch)
		}
		b.Price = r.price()
		var c uint64
		if r.below(2) > 0 {
			c = 10000 + r.below(4)
		} else {
			c = r.below(10000)
		}
		b.Channel, b.URL = &g.channel[c], &g.url[c]
		b.Extra = &g.bextra[r.below(1024)]
		e.Kind = bidKind
	}
}
