package kafka

import (
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream-go/millstream/internal/slab"
	"github.com/millstream-go/millstream/source"
)

// pools keep the memory of fetched batches between a Batch's Release and the next fetch. The client takes records and
// decompressed bytes from them, and gives them back when the last record of its batch is recycled.
type pools struct {
	records slab.List[kgo.Record]
	bytes   slab.List[byte]
	slabs   slab.List[source.Record]
	grows   atomic.Int64 // how many sixteenths of its size a batch decompresses to, lately: the room that it is given
}

// newPools makes pools that keep about so many bytes.
func newPools(bytes int64) *pools {
	p := &pools{}
	p.records.Room, p.bytes.Room, p.slabs.Room = int(bytes/3), int(bytes/3), int(bytes/3)
	return p
}

// GetRecords implements kgo.PoolRecords.
func (p *pools) GetRecords(n int) []kgo.Record {
	return p.records.Get(n)
}

// PutRecords implements kgo.PoolRecords.
func (p *pools) PutRecords(s []kgo.Record) { p.records.Put(s) }

// GetDecompressBytes implements kgo.PoolDecompressBytes.
func (p *pools) GetDecompressBytes(compressed []byte, _ kgo.CompressionCodecType) []byte {
	return p.bytes.Get(int(int64(len(compressed))*max(p.grows.Load(), 32)/16) + 512)
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
func (p *pools) PutDecompressBytes(s []byte) { p.bytes.Put(s) }

// slab returns room for n records.
func (p *pools) slab(n int) []source.Record { return p.slabs.Get(n) }

// putSlab takes a slab back. It is not cleared: what it points to is pooled as well.
func (p *pools) putSlab(s []source.Record) { p.slabs.Put(s) }
