package micro

import (
	"testing"
	"time"

	"github.com/millstream-go/millstream/internal/store"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

const n = 1000 // records of a batch

type payment struct {
	Card   string
	Amount int64
	Place  string
}

func BenchmarkDecode(b *testing.B) {
	b.Run("int64", func(b *testing.B) { decode(b, codec.Int64, nil) })
	b.Run("string", func(b *testing.B) { decode(b, codec.String, []byte("a text of some length, as lines of a log have")) })
	b.Run("json", func(b *testing.B) {
		decode(b, codec.JSON[payment](), []byte(`{"Card":"4711-0815","Amount":4200,"Place":"Lisbon"}`))
	})
}

// decode reads values, and does nothing with them.
func decode[V any](b *testing.B, c codec.Codec[V], value []byte) {
	bed := newBed(b, 1<<30, false, func(topo *stream.Topology) {
		topo.From(source.Kafka("in", c)).Filter(func(V) bool { return false }).To(sink.Kafka("out", c))
	})
	batch := records("in", n, 100)
	for i := range batch.Records {
		if value != nil {
			batch.Records[i].Value = value
		}
	}
	perRecord(b, n, func() { bed.read(b, batch) })
}

// The windows of a time.
func BenchmarkAssign(b *testing.B) {
	for _, w := range []window.Aligned{window.Tumbling{Size: 10 * time.Second}, window.Hopping{Size: 6 * time.Hour, Advance: 2 * time.Hour}} {
		b.Run(w.String(), func(b *testing.B) {
			a, at, sum := w.Alignment(), noon.UnixMilli(), int64(0)
			for i := 0; b.Loop(); i++ {
				t := at + int64(i%100_000)
				for place := a.First(t); place <= a.Last(t); place += a.Advance {
					sum += place
				}
			}
			if sum == 0 {
				b.Fatal("no windows")
			}
		})
	}
}

// The row of a key is in the cache, or has to be read from the store.
func BenchmarkCache(b *testing.B) {
	count := func(topo *stream.Topology) { numbers(topo, "in").Count("n") }
	b.Run("hit", func(b *testing.B) {
		bed, batch := newBed(b, 1<<30, false, count), records("in", n, n)
		bed.read(b, batch)
		perRecord(b, n, func() { bed.read(b, batch) })
	})
	b.Run("miss", func(b *testing.B) {
		const n = 10_000
		bed, batch := newBed(b, 0, false, count), records("in", n, n)
		bed.read(b, batch)
		bed.commit(b, bed.batch(bed.cut(b)))
		perRecord(b, n, func() {
			bed.read(b, batch)
			b.StopTimer()
			bed.commit(b, bed.batch(bed.cut(b)))
			b.StartTimer()
		})
	})
}

// One record of each side per key and hour, each of which finds the other.
func BenchmarkJoinProbe(b *testing.B) {
	bed := newBed(b, 1<<30, false, func(topo *stream.Topology) {
		numbers(topo, "in").Join("pairs", numbers(topo, "right"), window.Join{Before: time.Minute, After: time.Minute},
			func(l, r int64) int64 { return l + r }).To(sink.Kafka("out", codec.Int64))
	})
	left, right := records("in", n, n), records("right", n, n)
	perRecord(b, 2*n, func() {
		bed.read(b, left, right)
		later(left, time.Hour)
		later(right, time.Hour)
	})
}

// Each record extends the session of its key; the sessions of the batch before are closed by it.
func BenchmarkSessionMerge(b *testing.B) {
	bed := newBed(b, 1<<30, false, func(topo *stream.Topology) {
		numbers(topo, "in").Window(window.Session{Gap: time.Minute}).Count("n").
			OnClose(func(_ int64, _ window.Span, n int64) int64 { return n }).To(sink.Kafka("out", codec.Int64))
	})
	batch := records("in", n, 10)
	perRecord(b, n, func() {
		bed.read(b, batch)
		later(batch, time.Hour)
	})
}

// An epoch in which 10,000 rows have changed, by phase; the time is per row. What the broker adds is measured by
// benchmarks/kafka.
func BenchmarkEpoch(b *testing.B) {
	const n = 10_000
	count := func(topo *stream.Topology) { numbers(topo, "in").Count("n") }
	var (
		d     *task.Delta
		batch *store.Batch
	)
	for _, phase := range []string{"encode", "batch", "apply"} {
		b.Run(phase, func(b *testing.B) {
			bed, in := newBed(b, 1<<30, false, count), records("in", n, n)
			only := func(p string, f func()) {
				if p != phase {
					b.StopTimer()
					defer b.StartTimer()
				}
				f()
			}
			perRecord(b, n, func() {
				only("", func() { bed.read(b, in) })
				only("encode", func() { d = bed.cut(b) })
				only("batch", func() { batch = bed.batch(d) })
				only("apply", func() { bed.commit(b, batch) })
			})
		})
	}
}

// Records go to the task of their new key within the process.
func BenchmarkExchange(b *testing.B) {
	bed := newBed(b, 1<<30, true, func(topo *stream.Topology) {
		topo.From(source.Kafka("in", codec.Int64, source.MaxAhead(-1))).KeyBy(func(n int64) int64 { return n / 2 }).
			Repartition("by-half", stream.Repartitioning{Partitions: 1}, codec.Int64).
			Filter(func(_, n int64) bool { return n < 0 }).Count("n")
	})
	in, counts := records("in", n, n), func() map[string]int32 { return map[string]int32{} }
	perRecord(b, n, func() {
		bed.read(b, in)
		got := 0
		bed.prog.Pass(bed.tasks[0], counts, func(batch source.Batch) {
			bed.tasks[1].Ports[0].Offer(batch)
			got += len(batch.Records)
		})
		if got != n {
			b.Fatalf("%d records exchanged, not %d", got, n)
		}
		bed.step(b, bed.tasks[1], got)
	})
}

// The entries of a changelog go to the store, 10,000 at a time, as a restore does it.
func BenchmarkRestore(b *testing.B) {
	const n = 10_000
	bed := newBed(b, 1<<30, false, func(topo *stream.Topology) { numbers(topo, "in").Count("n") })
	bed.read(b, records("in", n, n))
	d := bed.cut(b)
	perRecord(b, n, func() {
		if err := bed.batch(d).Commit(false); err != nil {
			b.Fatal(err)
		}
		if err := bed.tasks[0].Restore(); err != nil {
			b.Fatal(err)
		}
	})
}
