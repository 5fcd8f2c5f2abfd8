package micro

import (
	"testing"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/state"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// A record reads and writes one entry of its key's map, or goes through ten of them.
func BenchmarkHandles(b *testing.B) {
	type items struct{ m state.Map[int64, int64] }
	mapped := func(f func(m state.Map[int64, int64], v int64) int64) func(topo *stream.Topology) {
		return func(topo *stream.Topology) {
			numbers(topo, "in").ProcessWith("p", func(h *stream.Handles[int64]) items {
				return items{h.Map("m", state.MapSpec[int64, int64]{})}
			}, func(p *stream.Process[int64, items, int64], v int64) {
				if f(p.State().m, v) < 0 {
					p.Emit(v)
				}
			}, nil).To(sink.Kafka("out", codec.Int64))
		}
	}
	add := func(m state.Map[int64, int64], v int64) int64 {
		x, _ := m.Get(v % 10)
		m.Put(v%10, x+1)
		return x
	}
	sum := func(m state.Map[int64, int64], _ int64) (sum int64) {
		for _, x := range m.All() {
			sum += x
		}
		return sum
	}
	// Keys 0 to 999, each with ten entries.
	filled := func(b *testing.B, cache int64, f func(m state.Map[int64, int64], v int64) int64) (*bed, func()) {
		fill := true
		bed := newBed(b, cache, false, mapped(func(m state.Map[int64, int64], v int64) int64 {
			if fill {
				for s := range int64(10) {
					m.Put(s, v)
				}
				return 0
			}
			return f(m, v)
		}))
		batch := records("in", n, n)
		bed.read(b, batch)
		bed.commit(b, bed.batch(bed.cut(b)))
		fill = false
		return bed, func() { bed.read(b, batch) }
	}
	b.Run("map entry", func(b *testing.B) {
		_, read := filled(b, 1<<30, add)
		perRecord(b, n, read)
	})
	b.Run("map entry, not in the cache", func(b *testing.B) {
		bed, read := filled(b, 0, add)
		perRecord(b, n, func() {
			read()
			b.StopTimer()
			bed.commit(b, bed.batch(bed.cut(b)))
			b.StartTimer()
		})
	})
	b.Run("map of ten", func(b *testing.B) {
		_, read := filled(b, 1<<30, sum)
		read()
		perRecord(b, n, read)
	})
	b.Run("map of ten, not in the cache", func(b *testing.B) {
		bed, read := filled(b, 0, sum)
		perRecord(b, n, func() {
			read()
			b.StopTimer()
			bed.commit(b, bed.batch(bed.cut(b)))
			b.StartTimer()
		})
	})
}
