package kafka

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// Pools keep no more than they may, and rather larger pieces than smaller ones.
func TestPoolsAreBounded(t *testing.T) {
	p := newPools(3000)
	for range 20 {
		p.PutDecompressBytes(make([]byte, 300))
	}
	assert.Len(t, p.bytes.pieces, 3)
	assert.Equal(t, 900, p.bytes.kept)
	p.PutDecompressBytes(make([]byte, 2000)) // a giant
	p.PutDecompressBytes(make([]byte, 400))
	assert.Equal(t, 1000, p.bytes.kept)
	piece, ok := p.bytes.get(350)
	assert.True(t, ok)
	assert.Equal(t, 400, cap(piece))
	assert.Equal(t, 600, p.bytes.kept)
	for range 2 {
		p.bytes.get(0)
	}
	assert.Zero(t, p.bytes.kept)
}
