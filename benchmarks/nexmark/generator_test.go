package main

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// hash is the fold of an event's fields.
func (e Event) hash() uint64 {
	h := fold(fold(0x4D53, uint64(e.Kind)), uint64(e.Time))
	add := func(fields ...uint64) {
		for _, v := range fields {
			h = fold(h, v)
		}
	}
	switch e.Kind {
	case personKind:
		p := e.Person
		add(p.ID, text(p.Name), text(p.Email), text(p.Card), text(p.City), text(p.State), text(p.Extra))
	case auctionKind:
		a := e.Auction
		add(a.ID, text(a.Item), text(a.Desc), a.Initial, a.Reserve, uint64(a.Expires), a.Seller, a.Category, text(a.Extra))
	default:
		b := e.Bid
		add(b.Auction, b.Bidder, b.Price, text(*b.Channel), text(*b.URL), text(*b.Extra))
	}
	return h
}

// The check values of the workload's definition.
func TestGenerator(t *testing.T) {
	for jitter, want := range map[uint64]map[uint64]string{
		0:    {1000: "7d70c24762c1209c", 100_000: "17dee24490838dee", 1_000_000: "2ba093d09ab580db"},
		1000: {1000: "90be3264be7475ad", 100_000: "a2c2ff2297268d6d", 1_000_000: "9a6c5203ef2afff3"},
	} {
		g := newGenerator(jitter)
		var h uint64
		for n := range uint64(1_000_000) {
			var e Event
			g.event(n, &e)
			h = mix(h ^ e.hash())
			if hash, ok := want[n+1]; ok {
				require.Equal(t, hash, fmt.Sprintf("%016x", h), "jitter %d, the first %d events", jitter, n+1)
			}
		}
	}
}
