package task

import (
	"cmp"
	"slices"
)

// HotKeys tells which keys come most often to an input, and about what share of its records each has: a task processes
// the records of a key one after the other, so a key that most records have cannot be spread over tasks or workers.
//
// About one record of 64 is looked at, at random distances, since keys may come in a pattern that a fixed one would meet. What was
// looked at is counted by spaceSaving, and older records weigh less and less.
type HotKeys struct {
	// Aged, if it is set, is called by the task's owner each time some 30,000 records have come.
	Aged func()

	skip   int32 // records until the next one is looked at
	random uint32
	counts spaceSaving
}

// HotKey is a key with its share of the records. The key is told by its hash, since it may be
// personal data: it is Murmur2 of its bytes, which Kafka's clients choose partitions by.
type HotKey struct {
	Hash  uint32
	Share float64
}

const (
	hotEvery = 64   // records of which one is looked at
	hotSpan  = 1024 // looked at, after which those so far weigh half
	hotLeast = 64   // looked at before anything is said
)

// See takes the key of a record into account.
func (h *HotKeys) See(key []byte) {
	if h.skip--; h.skip < 0 {
		h.look(key)
	}
}

func (h *HotKeys) look(key []byte) {
	h.random = h.random*1664525 + 1013904223 // Numerical Recipes' linear congruential generator; its high bits are good
	h.skip = int32(h.random >> 25)           // 0 to 127
	h.counts.add(Murmur2(key))
	if h.counts.total >= hotSpan {
		h.counts.age()
		if h.Aged != nil {
			h.Aged()
		}
	}
}

// Top returns up to n keys that come most often, the most frequent first; none while too few records have come, which is until
// there are some 4,000.
//
// Shares are those among the last 30,000 to 60,000 records or so. They are not above the true ones but for the sample's error, of
// which the standard deviation is 0.02, and not more than 1/32 below.
func (h *HotKeys) Top(n int) (list []HotKey) {
	s := &h.counts
	if s.total < hotLeast {
		return nil
	}
	for i, hash := range s.hashes {
		if s.counts[i] > 0 {
			list = append(list, HotKey{hash, (s.counts[i] - s.over[i]) / s.total})
		}
	}
	slices.SortFunc(list, func(a, b HotKey) int { return cmp.Or(cmp.Compare(b.Share, a.Share), cmp.Compare(a.Hash, b.Hash)) })
	return list[:min(n, len(list))]
}

// spaceSaving counts the most frequent of many hashes in a few counters (A. Metwally, D. Agrawal, A. El Abbadi: Efficient
// Computation of Frequent and Top-k Elements in Data Streams, ICDT 2005). One that has no counter takes that of the one with the
// smallest count, and goes on from there: over is how much of a count may be others'. So
//
//	count - over <= true count <= count,  over <= total / number of counters,
//
// and whatever has more than that has a counter. Age halves all counts, and all of this holds for the weights that are left.
type spaceSaving struct {
	hashes [32]uint32
	counts [32]float64 // 0: not in use
	over   [32]float64
	total  float64
}

func (s *spaceSaving) add(hash uint32) {
	s.total++
	for i := range s.hashes {
		if s.hashes[i] == hash { // or it is 0, and so is the counter
			s.counts[i]++
			return
		}
	}
	least := 0
	for i := range s.counts {
		if s.counts[i] < s.counts[least] {
			least = i
		}
	}
	s.hashes[least], s.over[least] = hash, s.counts[least]
	s.counts[least]++
}

func (s *spaceSaving) age() {
	for i := range s.counts {
		s.counts[i] /= 2
		s.over[i] /= 2
	}
	s.total /= 2
}
