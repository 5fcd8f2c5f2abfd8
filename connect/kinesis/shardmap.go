package kinesis

import (
	"sort"
	"time"

	"github.com/millstream-go/millstream/connect/kinesis/kpl"
)

// shardMap is the open shards of a stream that is written, by their hash keys, each with what may be written to it now.
type shardMap []*target

// target is an open shard.
type target struct {
	id     string
	owns   kpl.Range
	bucket bucket
}

// name is the target's id; "" while it is not known.
func (t *target) name() string {
	if t == nil {
		return ""
	}
	return t.id
}

func newShardMap(list []Shard, old shardMap) (m shardMap) {
	buckets := map[string]bucket{}
	for _, t := range old {
		buckets[t.id] = t.bucket
	}
	for _, sh := range list {
		if sh.Closed {
			continue
		}
		b, known := buckets[sh.Shard]
		if !known {
			b = bucket{factor: 1}
		}
		m = append(m, &target{id: sh.Shard, owns: sh.Hashes, bucket: b})
	}
	sort.Slice(m, func(i, j int) bool { return m[i].owns.Start.Compare(m[j].owns.Start) < 0 })
	return m
}

// owner is the shard that a hash belongs to; nil while a map is out of date.
func (m shardMap) owner(h kpl.Hash) *target {
	i := sort.Search(len(m), func(i int) bool { return h.Compare(m[i].owns.End) <= 0 })
	if i < len(m) && m[i].owns.Contains(h) {
		return m[i]
	}
	return nil
}

func (m shardMap) find(id string) *target {
	for _, t := range m {
		if t.id == id {
			return t
		}
	}
	return nil
}

// What a shard takes in a second.
const (
	shardRecords = 1000
	shardBytes   = 1 << 20
)

// bucket is a token bucket for records and bytes. It is filled at the limits' rate, times a factor that falls when the
// shard refuses and rises with what it takes. It holds what a fifth of a second brings, and may be overdrawn by one record.
type bucket struct {
	records, bytes float64
	filled         time.Time
	factor         float64
}

const burst = 0.2 // seconds

func (b *bucket) fill(now time.Time, share float64) {
	rate := share * b.factor
	s := burst
	if !b.filled.IsZero() {
		s = min(now.Sub(b.filled).Seconds(), burst)
	}
	b.filled = now
	b.records = min(b.records+s*rate*shardRecords, burst*rate*shardRecords)
	b.bytes = min(b.bytes+s*rate*shardBytes, burst*rate*shardBytes)
}

func (b *bucket) open() bool { return b.records > 0 && b.bytes > 0 }

// refused closes the bucket for a tenth of a second or more.
func (b *bucket) refused() {
	b.factor = max(b.factor*0.7, 0.05)
	b.records = min(b.records, 0) - 0.1*b.factor*shardRecords
}

func (b *bucket) taken() { b.factor = min(b.factor+0.01, 1) }

// wait is how long the bucket stays empty.
func (b *bucket) wait(share float64) time.Duration {
	rate := share * b.factor
	s := max(-b.records/(rate*shardRecords), -b.bytes/(rate*shardBytes), 0)
	return time.Duration(s*float64(time.Second)) + time.Millisecond
}
