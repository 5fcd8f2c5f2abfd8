package kafka

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream-go/millstream/sink"
)

// murmur2 is the hash by which the Java client, and with it most of the Kafka world, chooses a key's partition: Austin
// Appleby's MurmurHash2, 32 bit, with Kafka's seed (org.apache.kafka.common.utils.Utils.murmur2).
func murmur2(b []byte) uint32 {
	const (
		seed uint32 = 0x9747b28c
		m    uint32 = 0x5bd1e995
		r           = 24
	)
	h := seed ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b) * m
		k ^= k >> r
		h = h*m ^ k*m
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(b[0])) * m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}

// partitionOf is the partition that the Java client's default partitioner chooses for a key.
func partitionOf(key []byte, partitions int) int {
	return int(murmur2(key)&0x7fffffff) % partitions
}

// partitioner obeys the partition that a record names, and chooses by key or in turn where it names none. It counts with
// the topic's present partitions, so keys follow a topic that grows, as they do for other producers.
func partitioner() kgo.Partitioner {
	return kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
		var turn atomic.Uint32
		return func(r *kgo.Record, n int) int {
			switch {
			case r.Partition >= 0:
				return int(r.Partition)
			case r.Partition == sink.ByKey && r.Key != nil:
				return partitionOf(r.Key, n)
			}
			return int(turn.Add(1)-1) % n
		}
	})
}
