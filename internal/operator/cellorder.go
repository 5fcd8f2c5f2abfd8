package operator

import (
	"bytes"
	"slices"
	"unsafe"

	"github.com/millstream-go/millstream/stream/codec"
)

// orders remember the sub-keys of keys that were scanned to the end, in their order. They may have more than there are: a
// cell that is deleted stays in its order, because it may come back when that is undone. They never have fewer.
type orders[K, S comparable] struct {
	of    map[K]*order[S]
	cells int // in all orders
	added int // cells that have come since the beginning, in any key
	bytes []byte
}

type order[S comparable] struct {
	list    []listed[S]
	changes int
}

// add notes that a key has a cell that it may not have had.
func (x *orders[K, S]) add(k K, s S, subs codec.Codec[S]) (err error) {
	x.added++
	o := x.of[k]
	if o == nil {
		return nil
	}
	if x.bytes, err = subs.Append(x.bytes[:0], s); err != nil {
		return err
	}
	if i, ok := o.find(x.bytes); !ok {
		o.list = slices.Insert(o.list, i, listed[S]{slices.Clone(x.bytes), s})
		o.changes++
		x.cells++
	}
	return nil
}

func (x *orders[K, S]) set(k K, list []listed[S]) {
	if x.of == nil {
		x.of = map[K]*order[S]{}
	}
	x.drop(k)
	x.of[k] = &order[S]{list: list}
	x.cells += len(list)
}

func (x *orders[K, S]) drop(k K) {
	if o := x.of[k]; o != nil {
		x.cells -= len(o.list)
		delete(x.of, k)
	}
}

func (x *orders[K, S]) clear() {
	clear(x.of)
	x.cells = 0
}

// held is about how many bytes they take.
func (x *orders[K, S]) held() int {
	var l listed[S]
	return x.cells*(int(unsafe.Sizeof(l))+16) + len(x.of)*128
}

// find is where a sub-key is, or would be.
func (o *order[S]) find(sub []byte) (int, bool) {
	if n := len(o.list); n == 0 || bytes.Compare(o.list[n-1].bytes, sub) < 0 {
		return n, false // lists grow at their end
	}
	return slices.BinarySearchFunc(o.list, sub, func(l listed[S], sub []byte) int { return bytes.Compare(l.bytes, sub) })
}

// learn finds the order of the key at hand, if it is not known. It is for keys that have few cells because of their TTL.
func (o *Cells[K, S, V]) learn() {
	if k, _ := o.At(); o.orders.of[k] == nil {
		o.Scan(nil, nil, func(S, V) bool { return true })
	}
}

// follow is a scan of a key whose order is known. A cell that is not in the cache any more is read by itself.
func (o *Cells[K, S, V]) follow(x *order[S], k K, lo, hi []byte, f func(s S, v V) bool) error {
	i, _ := x.find(lo)
	gone := 0
	for ; i < len(x.list); i++ {
		at := x.list[i]
		if hi != nil && bytes.Compare(at.bytes, hi) >= 0 {
			break
		}
		e, err := o.get(cell[K, S]{k, at.sub})
		if err != nil {
			return err
		}
		if e == nil || o.lapsed(at.sub, e.time) {
			gone++
			continue
		}
		changes := x.changes
		if !f(at.sub, e.val) {
			return errStop
		}
		if x.changes != changes {
			i, _ = x.find(at.bytes)
		}
	}
	if gone > 8 && gone > len(x.list)/2 && o.orders.of[k] == x {
		o.orders.drop(k)
	}
	return nil
}
