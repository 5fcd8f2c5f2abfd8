package operator

import (
	"bytes"
	"cmp"
	"slices"
)

// rank is what an element of a list goes by: a time, then bytes (as a rule its encoded key), then the place that it had.
type rank struct {
	time int64
	key  []byte
	was  int
}

// ranks are those of the elements of a list, in their order. They are sorted in place of the list, because a sort compiles
// to two dozen functions for each type of element, and each operator, key and aggregate of a program has a type of its own.
type ranks []rank

func (r *ranks) add(time int64, key []byte) { *r = append(*r, rank{time, key, len(*r)}) }

func (r ranks) sort() {
	slices.SortFunc(r, func(a, b rank) int {
		if a.time != b.time {
			return cmp.Compare(a.time, b.time)
		}
		if c := bytes.Compare(a.key, b.key); c != 0 {
			return c
		}
		return a.was - b.was
	})
}

// arrange puts a list in the order of its ranks, which are used up.
func arrange[T any](list []T, r ranks) {
	r.sort()
	for i := range list { // the elements of one cycle go to their places
		at, first := i, list[i]
		for r[at].was != i {
			from := r[at].was
			list[at], r[at].was = list[from], at
			at = from
		}
		list[at], r[at].was = first, at
	}
}

// arrangeBy puts a list in the order of a time. What has one time stays in the order in which it was.
func arrangeBy[T any](list []T, time func(*T) int64) {
	var r ranks
	for i := range list {
		r.add(time(&list[i]), nil)
	}
	arrange(list, r)
}
