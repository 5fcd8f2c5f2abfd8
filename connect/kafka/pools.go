package kafka

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream-go/millstream/source"
)

// pools keep the memory of fetched batches between a Batch's Release and the next fetch. The client takes records and
// decompressed bytes from them, and gives them back when the last record of its batch is recycled.
type pools struct {
	records sync.Pool // *[]kgo.Record
	bytes   sync.Pool // *[]byte
	slabs   sync.Pool // *[]source.Record
}

// Largest pieces that are kept: a rare giant must not stay for ever.
const (
	keepRecords = 64 << 10
	keepBytes   = 8 << 20
)

// GetRecords implements kgo.PoolRecords.
func (p *pools) GetRecords(n int) []kgo.Record {
	if s, ok := p.records.Get().(*[]kgo.Record); ok && cap(*s) >= n {
		return (*s)[:0]
	}
	return make([]kgo.Record, 0, n)
}

// PutRecords implements kgo.PoolRecords.
func (p *pools) PutRecords(s []kgo.Record) {
	if cap(s) <= keepRecords {
		p.records.Put(&s)
	}
}

// GetDecompressBytes implements kgo.PoolDecompressBytes.
func (p *pools) GetDecompressBytes(compressed []byte, _ kgo.CompressionCodecType) []byte {
	if s, ok := p.bytes.Get().(*[]byte); ok {
		return *s
	}
	return make([]byte, 0, 4*len(compressed))
}

// PutDecompressBytes implements kgo.PoolDecompressBytes.
func (p *pools) PutDecompressBytes(s []byte) {
	if cap(s) <= keepBytes {
		p.bytes.Put(&s)
	}
}

// slab returns room for n records.
func (p *pools) slab(n int) []source.Record {
	if s, ok := p.slabs.Get().(*[]source.Record); ok && cap(*s) >= n {
		return (*s)[:0]
	}
	return make([]source.Record, 0, n)
}

func (p *pools) putSlab(s []source.Record) {
	if cap(s) <= keepRecords {
		s = s[:0] // not cleared: what it points to is pooled as well
		p.slabs.Put(&s)
	}
}
