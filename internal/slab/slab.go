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

// Get returns the smallest piece that has room for n, or a new one, with nothing in it.
func (l *List[T]) Get(n int) []T {
	if n == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	best := -1
	for i, p := range l.pieces {
		if cap(p) >= n && (best < 0 || cap(p) < cap(l.pieces[best])) {
			best = i
		}
	}
	if best < 0 {
		return make([]T, 0, n)
	}
	piece, last := l.pieces[best], len(l.pieces)-1
	l.pieces[best], l.pieces[last] = l.pieces[last], nil
	l.pieces = l.pieces[:last]
	l.kept -= size(piece)
	return piece[:0]
}

// Put keeps a piece; if there are enough, it takes the place of a smaller one.
func (l *List[T]) Put(piece []T) {
	n := size(piece)
	if n == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pieces) < keepPieces && l.kept+n <= l.Room {
		l.pieces, l.kept = append(l.pieces, piece), l.kept+n
		return
	}
	for i, p := range l.pieces {
		if more := n - size(p); more > 0 && l.kept+more <= l.Room {
			l.pieces[i], l.kept = piece, l.kept+more
			return
		}
	}
}

func size[T any](piece []T) int {
	var t T
	return cap(piece) * int(unsafe.Sizeof(t))
}
