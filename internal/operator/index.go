package operator

// index finds the slot of a key's entry in a table by the hash of the key. It is a hash table with linear probing that has neither
// keys nor pointers: an entry has its key already, the garbage collector has nothing to look at, and a look-up of one key
// among millions misses the processor's cache here once. A map of Go's has every key a second time, and is three steps away.
//
// A place is 32 bits of hash, of which the lowest say where it belongs, and the number of the slot plus one; 0 is free.
// So a place can be moved without its key: when the index grows, and when one before it is freed (Knuth, The Art of Computer
// Programming 3, 6.4, Algorithm R).
type index struct {
	places []uint64 // a power of two
	used   int
}

const fewestPlaces = 8

// probe is a walk over the places where a hash may be. Its at is the one that next has seen, or the free one where the walk ended.
type probe struct {
	hash uint32
	at   uint32
}

func (x *index) probe(hash uint64) probe { return probe{uint32(hash), uint32(hash) - 1} }

// next returns the next slot with the hash, if there is one.
func (x *index) next(p *probe) (slot uint32, ok bool) {
	mask := uint32(len(x.places) - 1)
	if len(x.places) == 0 {
		return 0, false
	}
	for {
		p.at++
		switch place := x.places[p.at&mask]; {
		case place == 0:
			return 0, false
		case uint32(place>>32) == p.hash:
			return uint32(place) - 1, true
		}
	}
}

// first returns what is in the place where a hash belongs: mostly its slot's number plus one, in the lower half.
func (x *index) first(hash uint64) uint64 { return x.places[uint32(hash)&uint32(len(x.places)-1)] }

// add adds a slot.
func (x *index) add(hash uint64, slot uint32) {
	if x.used >= len(x.places)/4*3 {
		x.grow()
	}
	x.put(uint64(uint32(hash))<<32 | uint64(slot+1))
	x.used++
}

func (x *index) put(place uint64) {
	mask := uint32(len(x.places) - 1)
	at := uint32(place>>32) & mask
	for x.places[at] != 0 {
		at = (at + 1) & mask
	}
	x.places[at] = place
}

func (x *index) grow() {
	old := x.places
	x.places = make([]uint64, max(2*len(old), fewestPlaces))
	for _, place := range old {
		if place != 0 {
			x.put(place)
		}
	}
}

// remove frees the place where a probe is, and returns the slot. Places behind it that belong at it or before it move up.
func (x *index) remove(p probe) (slot uint32) {
	mask := uint32(len(x.places) - 1)
	hole := p.at & mask
	slot = uint32(x.places[hole]) - 1
	for at := hole; ; {
		at = (at + 1) & mask
		place := x.places[at]
		if place == 0 {
			break
		}
		if home := uint32(place>>32) & mask; (at-home)&mask >= (at-hole)&mask {
			x.places[hole] = place
			hole = at
		}
	}
	x.places[hole] = 0
	x.used--
	return slot
}
