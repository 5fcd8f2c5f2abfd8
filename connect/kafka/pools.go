package kafka

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream-go/millstream/source"
)

// pools keep the memory of fetched batches between a Batch's Release and the next fetch. The client takes records and
// decompressed bytes from them, and gives them back when the last record of its batch is recycled.
//
// They are short lists rather than sync.Pools: those keep twice as much alive between two collections, of pieces that
// are megabytes each, and lose it all in the next.
type pools struct {
	records freeList[kgo.Record]
	bytes   freeList[byte]
	slabs   freeList[source.Record]
	grows   atomic.Int64 // how many sixteenths of its size a batch decompresses to, lately: the room that it is given
}

// freeList keeps up to keepPieces slices for reuse.
type freeList[T any] struct {
	room   int // bytes that it may keep
	mu     sync.Mutex
	pieces [][]T
	kept   int // bytes of them
}

// Pieces that are kept, and the largest: a rare giant must not stay for ever.
const keepPieces = 8

// newPools makes pools that keep about so many bytes.
func newPools(bytes int64) *pools {
	p := &pools{}
	p.records.room, p.bytes.room, p.slabs.room = int(bytes/3), int(bytes/3), int(bytes/3)
	return p
}

// get returns the smallest piece that has room for n; ok is false if there is none.
func (f *freeList[T]) get(n int) (piece []T, ok bool) {
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

// put keeps a piece; if there are enough, it takes the place of a smaller one.
func (f *freeList[T]) put(piece []T) {
	n := size(piece)
	if n == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.pieces) < keepPieces && f.kept+n <= f.room {
		f.pieces, f.kept = append(f.pieces, piece), f.kept+n
		return
	}
	for i, p := range f.pieces {
		if more := n - size(p); more > 0 && f.kept+more <= f.room {
			f.pieces[i], f.kept = piece, f.kept+more
			return
		}
	}
}

func size[T any](piece []T) int {
	var t T
	return cap(piece) * int(unsafe.Sizeof(t))
}

// GetRecords implements kgo.PoolRecords.
func (p *pools) GetRecords(n int) []kgo.Record {
	if s, ok := p.records.get(n); ok {
		return s
	}
	return make([]kgo.Record, 0, n)
}

// PutRecords implements kgo.PoolRecords.
func (p *pools) PutRecords(s []kgo.Record) { p.records.put(s) }

// GetDecompressBytes implements kgo.PoolDecompressBytes.
func (p *pools) GetDecompressBytes(compressed []byte, _ kgo.CompressionCodecType) []byte {
	n := int(int64(len(compressed))*max(p.grows.Load(), 32)/16) + 512
	if s, ok := p.bytes.get(n); ok {
		return s
	}
	return make([]byte, 0, n)
}

// OnFetchBatchRead implements kgo.HookFetchBatchRead. Too little room costs a copy, too much of it stays in the pool.
func (p *pools) OnFetchBatchRead(_ kgo.BrokerMetadata, _ string, _ int32, m kgo.FetchBatchMetrics) {
	if m.CompressionType == 0 || m.CompressedBytes < 1<<10 {
		return
	}
	last, now := p.grows.Load(), int64(m.UncompressedBytes)*17/int64(m.CompressedBytes)+1
	p.grows.Store(max(now, last-(last-now)/16))
}

// PutDecompressBytes implements kgo.PoolDecompressBytes.
func (p *pools) PutDecompressBytes(s []byte) { p.bytes.put(s) }

// slab returns room for n records.
func (p *pools) slab(n int) []source.Record {
	if s, ok := p.slabs.get(n); ok {
		return s
	}
	return make([]source.Record, 0, n)
}

// putSlab takes a slab back. It is not cleared: what it points to is pooled as well.
func (p *pools) putSlab(s []source.Record) { p.slabs.put(s) }
