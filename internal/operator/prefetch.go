package operator

import (
	"fmt"
	"hash/maphash"

	"github.com/millstream-go/millstream/internal/task"
)

// What a table does not have is read from the store, and a look-up there costs as much as dozens of records. Where the
// next records of a partition are at hand, the keys that they will ask for are looked up together before the first of them is run: in the
// store's order, by one iterator. It is a guess that costs time if it is wrong, and
// nothing else, since the table is a cache: a record finds there what it needs, or reads it itself.
//
// A large table that has everything is far away too, from the processor; see approach.

const (
	fewestPrefetched = 16 // keys that make it worth to open an iterator
	pausePrefetch    = 31 // calls that are left out when few keys were missing, or few of them asked for, as behind a filter
)

// prefetch is what an operator looks up ahead.
type prefetch[K comparable, A any] struct {
	table  *table[K, A]
	list   []prefetched[K]
	arena  []byte // of the keys as the store has them
	sorted [][]byte
	ranks  ranks
	paused int

	places []uint64 // of the keys in the table's index
	asked  uint64   // how many look-ups there had been before the last call
}

type prefetched[K comparable] struct {
	key K
	at  []byte // its key in the store, in the arena
}

// prefetch looks up the keys of a port's next records in a table, if that may lack what the store has. start counts for
// windows only.
func (s *backing[K, A]) prefetch(x *prefetch[K, A], t *table[K, A], start int64, p *task.Port, n int, key func(i int) []byte) (err error) {
	if n < fewestPrefetched || p.Keys != s.keys.Name() {
		return nil
	}
	defer func() {
		if recover() != nil { // of a codec: the record whose key or row it is meets it again, and is given up on
			err = nil
		}
	}()
	if t.complete {
		s.approach(x, t, n, key)
		return nil
	}
	if x.pauses(t) {
		return nil
	}
	for i := range n {
		b := key(i)
		if b == nil {
			continue
		}
		k, err := s.keys.Decode(b)
		if err != nil || t.lookup(k) != nil || t.absent(k) {
			continue
		}
		from := len(x.arena)
		if x.arena, err = s.appendKey(x.arena, k, start); err == nil {
			x.list = append(x.list, prefetched[K]{k, x.arena[from:]}) // good also when the arena grows: what it was stays
		}
	}
	if len(x.list) < fewestPrefetched {
		x.list, x.paused = x.list[:0], pausePrefetch
		return nil
	}
	for _, w := range x.list {
		x.ranks.add(0, w.at)
	}
	arrange(x.list, x.ranks)
	for _, w := range x.list {
		x.sorted = append(x.sorted, w.at)
	}
	err = s.task.View.GetSorted(x.sorted, func(i int, val []byte, found bool) error {
		k := x.list[i].key
		if t.lookup(k) != nil { // it comes more than once
			return nil
		}
		e, err := s.put(t, k, x.sorted[i], val, found) // also one that is not there: it is not asked for again
		if err == nil {
			e.recent, e.absent = false, !found // until a record asks for it
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("store %s: %w", s.name, err)
	}
	return nil
}

// manyEntries do not fit the cache that a core of the processor has for itself. Each look-up waits for memory then, twice: for the index, and for the entry.
const manyEntries = 1 << 14

// approach has the processor fetch the entries of keys from memory. It fetches many at a time, unless what comes next depends on what
// is on its way; so first all places in the index are read, then all entries. Records that need them find them near.
func (s *backing[K, A]) approach(x *prefetch[K, A], t *table[K, A], n int, key func(i int) []byte) {
	switch {
	case t.entries() < manyEntries:
		return
	case x.paused > 0:
		x.paused--
		return
	case x.table == t && 4*(t.asked-x.asked) < uint64(len(x.list)): // few of the last ones were asked for
		x.table, x.paused = nil, pausePrefetch
		return
	}
	x.list, x.places = x.list[:0], x.places[:0]
	for i := range n {
		b := key(i)
		if b == nil {
			continue
		}
		if k, err := s.keys.Decode(b); err == nil {
			x.list = append(x.list, prefetched[K]{key: k})
			x.places = append(x.places, t.index.first(maphash.Comparable(t.seed, k)))
		}
	}
	there := 0
	for i, place := range x.places {
		if place == 0 {
			continue
		}
		if e := t.slot(uint32(place) - 1); e.live && e.key == x.list[i].key {
			there++
		}
	}
	x.table, x.asked = t, t.asked
	if 8*there < n { // new keys, which will lie where memory was just made
		x.paused = pausePrefetch
	}
}

// pauses begins a list, unless few keys of the last one were asked for.
func (x *prefetch[K, A]) pauses(t *table[K, A]) bool {
	if x.paused > 0 {
		x.paused--
		return true
	}
	if x.table == t && len(x.list) > 0 {
		seen, asked := 0, 0
		for at := 0; at < len(x.list); at += len(x.list)/64 + 1 {
			seen++
			if e := t.peek(x.list[at].key); e != nil && e.recent {
				asked++
			}
		}
		if 4*asked < seen {
			x.paused = pausePrefetch
		}
	}
	x.table, x.list, x.arena, x.sorted, x.ranks = t, x.list[:0], x.arena[:0], x.sorted[:0], x.ranks[:0]
	return x.paused > 0
}
