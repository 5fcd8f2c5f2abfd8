package micro

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/millstream-go/millstream/pattern"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// A record against a pattern of three steps: one that is of no use, and one in four, whose key's match each third of them
// completes.
func BenchmarkPattern(b *testing.B) {
	is := func(n int64) func(int64) bool { return func(v int64) bool { return v == n } }
	p := pattern.Begin("0", is(0)).FollowedBy("1", is(1)).FollowedBy("2", is(2)).Within(time.Minute)
	const keys = 10
	for _, c := range []struct {
		name  string
		value func(i int64) int64
	}{
		{"no use", func(int64) int64 { return 3 }},
		{"matches", func(i int64) int64 { return i / keys % 4 }},
	} {
		b.Run(c.name, func(b *testing.B) {
			bed := newBed(b, 1<<30, false, func(topo *stream.Topology) {
				numbers(topo, "in").Detect("found", p, func(_ int64, m pattern.Match[int64]) int64 { return int64(len(m.Events)) }).
					To(sink.Kafka("out", codec.Int64))
			})
			batch := records("in", n, keys)
			for i := range batch.Records {
				batch.Records[i].Value = binary.BigEndian.AppendUint64(nil, uint64(c.value(int64(i))))
			}
			perRecord(b, n, func() {
				bed.read(b, batch)
				later(batch, time.Second)
			})
		})
	}
}
