package micro

import (
	"encoding/binary"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/pattern"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// What a restart reads of keys for which something is to be done at a time, and how much it keeps in memory of each, whatever the
// cache may hold: half a million keys with one open session, timer or partial match.
func BenchmarkOpen(b *testing.B) {
	begun := pattern.Begin("0", func(int64) bool { return true }).FollowedBy("1", func(int64) bool { return false }).Within(24 * time.Hour)
	for name, build := range map[string]func(topo *stream.Topology){
		"sessions": sessions, "timers": timers,
		"patterns": func(topo *stream.Topology) {
			numbers(topo, "in").Detect("found", begun, func(_ int64, m pattern.Match[int64]) int64 { return 0 }).To(sink.Kafka("out", codec.Int64))
		},
	} {
		b.Run(name, func(b *testing.B) {
			const keys = 500 * n
			bed, batch := newBed(b, 1<<20, false, build), records("in", n, n)
			for i := range keys / n {
				for j := range batch.Records {
					key := binary.BigEndian.AppendUint64(nil, uint64(i*n+j))
					batch.Records[j].Key, batch.Records[j].Value, batch.Records[j].Time = key, key, noon.UnixMilli()+int64(i)
				}
				bed.read(b, batch)
				d := bed.cut(b)
				bed.commit(b, bed.batch(d))
			}
			t := bed.tasks[0]
			b.ResetTimer()
			var held uint64
			for range b.N {
				b.StopTimer()
				before := live()
				b.StartTimer()
				again := bed.task(b, bed.prog.Subtopologies[0], 1<<20)
				b.StopTimer()
				held += max(live(), before) - before
				require.Equal(b, t.Watermark(), again.Watermark())
				b.StartTimer()
			}
			b.ReportMetric(float64(held)/float64(b.N*keys), "B/key")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*keys), "ns/key")
		})
	}
}

// live is how much of the heap is in use.
func live() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
