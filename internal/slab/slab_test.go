package slab

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// A list keeps no more than it may, and rather larger pieces than smaller ones.
func TestListIsBounded(t *testing.T) {
	l := List[byte]{Room: 1000}
	for range 20 {
		l.Put(make([]byte, 300))
	}
	assert.Len(t, l.pieces, 3)
	assert.Equal(t, 900, l.kept)
	l.Put(make([]byte, 2000)) // a giant
	l.Put(make([]byte, 400))
	assert.Equal(t, 1000, l.kept)
	assert.Equal(t, 400, cap(l.Get(350)))
	assert.Equal(t, 600, l.kept)
	for range 2 {
		l.Get(1)
	}
	assert.Zero(t, l.kept)
	assert.Equal(t, 350, cap(l.Get(350)), "a new one")
}
