// Package keysort sorts by keys of bytes that have much in common, as those of a store have: number of the store, key group, window.
package keysort

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"slices"
)

// place is where a key was, with eight bytes of it as a number.
type place struct {
	word uint64
	was  int32
}

// From so many places on they are sorted by words instead of whole keys, and from so many by the words' bytes.
const (
	byWords = 12
	byBytes = 192
)

// Order returns where the keys are, in ascending order of n keys. Equal ones stay in the order in which they are.
func Order(n int, key func(i int) []byte) []int32 {
	list := make([]place, n)
	for i := range list {
		list[i].was = int32(i)
	}
	s := sorter{key: key}
	s.sort(list, 0)
	places := make([]int32, n)
	for i, p := range list {
		places[i] = p.was
	}
	return places
}

// ByTime puts places in the order of their times. Those that have the same stay in the order in which they are.
func ByTime(places []int32, time func(i int) int64) {
	list := make([]place, len(places))
	for i, p := range places {
		list[i] = place{uint64(time(int(p))) ^ 1<<63, p}
	}
	new(sorter).words(list)
	for i, p := range list {
		places[i] = p.was
	}
}

type sorter struct {
	key   func(i int) []byte
	spare []place // as many as are sorted together
}

// sort sorts places by their keys, which are the same up to byte from. What they have in common behind it is left out, they are sorted
// by the eight bytes that follow, as a number, and those that have the same eight by the rest.
func (s *sorter) sort(places []place, from int) {
	if len(places) < byWords {
		s.compare(places, from)
		return
	}
	first := s.key(int(places[0].was))
	same := len(first)
	for _, p := range places[1:] {
		k := s.key(int(p.was))
		same = min(same, len(k))
		at := from
		for at < same && k[at] == first[at] {
			at++
		}
		same = at
	}
	from = same
	for i := range places {
		places[i].word = word(s.key(int(places[i].was))[from:])
	}
	s.words(places)
	for len(places) > 0 {
		n := 1
		for n < len(places) && places[n].word == places[0].word {
			n++
		}
		if n > 1 {
			s.rest(places[:n], from+8)
		}
		places = places[n:]
	}
}

// word are the first eight bytes as a number. What a key does not have counts as zeros.
func word(k []byte) (w uint64) {
	if len(k) >= 8 {
		return binary.BigEndian.Uint64(k)
	}
	for i, b := range k {
		w |= uint64(b) << (56 - 8*i)
	}
	return w
}

// rest sorts places whose keys have the same words before byte from.
func (s *sorter) rest(places []place, from int) {
	longest, shortest := 0, math.MaxInt
	for _, p := range places {
		n := len(s.key(int(p.was)))
		longest, shortest = max(longest, n), min(shortest, n)
	}
	switch {
	case shortest >= from:
		if longest > from {
			s.sort(places, from)
		}
	case shortest < longest: // some end in zeros where others end
		s.compare(places, 0)
	}
}

func (s *sorter) compare(places []place, from int) {
	slices.SortStableFunc(places, func(a, b place) int { return bytes.Compare(s.key(int(a.was))[from:], s.key(int(b.was))[from:]) })
}

// words sorts by the words, many of them by one byte after the other, the last byte first; bytes in which all are the same are
// passed over.
func (s *sorter) words(places []place) {
	if len(places) < byBytes {
		slices.SortStableFunc(places, func(a, b place) int { return cmp.Compare(a.word, b.word) })
		return
	}
	var counts [8][256]int32
	for _, p := range places {
		for b := range counts {
			counts[b][byte(p.word>>(8*b))]++
		}
	}
	if s.spare == nil {
		s.spare = make([]place, len(places)) // the first are the most
	}
	from, to := places, s.spare[:len(places)]
	for b := range counts {
		count := &counts[b]
		shift := 8 * b
		if int(count[byte(from[0].word>>shift)]) == len(from) {
			continue
		}
		at := int32(0)
		for i, n := range count {
			count[i] = at
			at += n
		}
		for _, p := range from {
			i := &count[byte(p.word>>shift)]
			to[*i] = p
			*i++
		}
		from, to = to, from
	}
	if &from[0] != &places[0] {
		copy(places, from)
	}
}
