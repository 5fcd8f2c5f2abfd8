// Package slab keeps slices for reuse.
package slab

import (
	"sync"
	"unsafe"
)

// List keeps up to keepPieces slices for reuse, of not more than Room bytes together. Any goroutine may use it.
//
// It is a short list rather than a sync.Pool: that keeps twice as much alive between two collections, of pieces that are
// megabytes each, and loses it all in the next.
type List[T any] struct {
	Room   int // bytes that it may keep
	mu     sync.Mutex
	pieces [][]T
	kept   int // bytes of them
}

// Pieces that are kept, and the largest: a rare giant must not stay for ever.
const keepPieces = 8

// Get returns the smallest piece that has room for n; ok is false if there is none.
func (f *List[T]) Get(n int) (piece []T, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	best := -1
	for i, p := range f.pieces {
		if cap(p) >= n && (best < 0 || cap(p) < cap(f.pieces[best])) {
			best = i
		}
	}
	if best < 0 {
		return nil, false
	}
	piece = f.pieces[best]
	last := len(f.pieces) - 1
	f.pieces[best], f.pieces[last] = f.pieces[last], nil
	f.pieces = f.pieces[:last]
	f.kept -= size(piece)
	return piece[:0], true
}

// Put keeps a piece; if there are enough, it takes the place of a smaller one.
func (f *List[T]) Put(piece []T) {
	n := size(piece)
	if n == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.pieces) < keepPieces && f.kept+n <= f.Room {
		f.pieces, f.kept = append(f.pieces, piece), f.kept+n
		return
	}
	for i, p := range f.pieces {
		if more := n - size(p); more > 0 && f.kept+more <= f.Room {
			f.pieces[i], f.kept = piece, f.kept+more
			return
		}
	}
}

func size[T any](piece []T) int {
	var t T
	return cap(piece) * int(unsafe.Sizeof(t))
}
