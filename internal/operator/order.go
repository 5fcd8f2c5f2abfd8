package operator

import "github.com/millstream-go/millstream/internal/keysort"

// rank is what an element of a list goes by: a time, then bytes (as a rule its encoded key). Those with the same rank stay in their order.
type rank struct {
	time int64
	key  []byte
}

// ranks are those of the elements of a list, in their order. They are sorted in place of the list, because a sort compiles
// to two dozen functions for each type of element, and each operator, key and aggregate of a program has a type of its own.
type ranks []rank

func (r *ranks) add(time int64, key []byte) { *r = append(*r, rank{time, key}) }

// order is where the elements are that come first, second, ...
func (r ranks) order() []int32 {
	places := keysort.Order(len(r), func(i int) []byte { return r[i].key })
	for i := range r {
		if r[i].time != r[0].time {
			keysort.ByTime(places, func(i int) int64 { return r[i].time })
			break
		}
	}
	return places
}

// arrange puts a list in the order of its ranks.
func arrange[T any](list []T, r ranks) {
	if len(list) < 2 {
		return
	}
	places := r.order()
	for i := range list { // the elements of one cycle go to their places
		at, first := i, list[i]
		for int(places[at]) != i {
			from := int(places[at])
			list[at], places[at] = list[from], int32(at)
			at = from
		}
		list[at], places[at] = first, int32(at)
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
