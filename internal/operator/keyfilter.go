package operator

import (
	"hash/maphash"
	"math/bits"
)

// keyFilter knows which keys a store may have: what it does not know is not there, and need not be looked for. To look for a key
// that is not there takes the store as long as to read one that is, and where keys come that were never seen (identifiers, new
// rows) that is nearly all it would do.
//
// It is a Bloom filter in blocks of a cache line (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters), with
// a further layer of twice the size whenever the last one is full, since nobody knows how many keys will come. Of keys that are not there
// it takes about one in sixty, for each layer, for one that may be.
type keyFilter[K comparable] struct {
	seed   maphash.Seed
	layers [][]filterBlock // the largest, which has most of the keys, first
	room   int             // keys that the largest one has room for yet
}

type filterBlock [8]uint64

const (
	keysPerBlock = 51 // of 10 bits each
	filterProbes = 6
	filterBytes  = 64 // of a block
)

// newKeyFilter makes a filter with room for so many keys at first.
func newKeyFilter[K comparable](keys int) *keyFilter[K] {
	f := &keyFilter[K]{seed: maphash.MakeSeed()}
	f.grow(keys/keysPerBlock + 1)
	return f
}

func (f *keyFilter[K]) grow(blocks int) {
	f.layers = append([][]filterBlock{make([]filterBlock, blocks)}, f.layers...)
	f.room = blocks * keysPerBlock
}

// add adds a key, unless it is taken for known.
func (f *keyFilter[K]) add(k K) {
	h := maphash.Comparable(f.seed, k)
	if f.hasHash(h) {
		return
	}
	if f.room == 0 {
		f.grow(2 * len(f.layers[0]))
	}
	f.room--
	b := blockOf(f.layers[0], h)
	for range filterProbes {
		b[h>>6&7] |= 1 << (h & 63)
		h = bits.RotateLeft64(h, -9)
	}
}

// has says that a key may have been added; if not, it was not.
func (f *keyFilter[K]) has(k K) bool { return f.hasHash(maphash.Comparable(f.seed, k)) }

func (f *keyFilter[K]) hasHash(h uint64) bool {
	for _, l := range f.layers {
		if inBlock(blockOf(l, h), h) {
			return true
		}
	}
	return false
}

func inBlock(b *filterBlock, h uint64) bool {
	for range filterProbes {
		if b[h>>6&7]&(1<<(h&63)) == 0 {
			return false
		}
		h = bits.RotateLeft64(h, -9)
	}
	return true
}

// blockOf picks a block by other bits than those that pick what is in it: a product's upper half depends on all of them.
func blockOf(l []filterBlock, h uint64) *filterBlock {
	i, _ := bits.Mul64(h*0x9e3779b97f4a7c15, uint64(len(l)))
	return &l[i]
}

// bytes is what it takes, 0 for none.
func (f *keyFilter[K]) bytes() (n int) {
	if f == nil {
		return 0
	}
	for _, l := range f.layers {
		n += len(l) * filterBytes
	}
	return n
}
