package micro

import (
	"fmt"
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
	b.Run("int64", func(b *testing.B) { run(b, decode(b, codec.Int64, nil)) })
	b.Run("string", func(b *testing.B) {
		run(b, decode(b, codec.String, []byte("a text of some length, as lines of a log have")))
	})
	b.Run("json", func(b *testing.B) {
		run(b, decode(b, codec.JSON[payment](), []byte(`{"Card":"4711-0815","Amount":4200,"Place":"Lisbon"}`)))
	})
}

// decode reads values, and does nothing with them.
func decode[V any](tb testing.TB, c codec.Codec[V], value []byte) step {
	bed := newBed(tb, 1<<30, false, func(topo *stream.Topology) {
		topo.From(source.Kafka("in", c)).Filter(func(V) bool { return false }).To(sink.Kafka("out", c))
	})
	batch := records("in", n, 100)
	for i := range batch.Records {
		if value != nil {
			batch.Records[i].Value = value
		}
	}
	return step{n, func() { bed.read(tb, batch) }}
}

func BenchmarkChain(b *testing.B) {
	for _, ops := range []int{1, 4, 16} {
		b.Run(fmt.Sprint(ops), func(b *testing.B) { run(b, chain(b, ops)) })
	}
}

// chain is so many operators without state, the last of which drops everything.
func chain(tb testing.TB, ops int) step {
	bed := newBed(tb, 1<<30, false, func(topo *stream.Topology) {
		s := topo.From(source.Kafka("in", codec.Int64))
		for range ops - 1 {
			s = s.Map(func(n int64) int64 { return n + 1 })
		}
		s.Filter(func(n int64) bool { return n < 0 }).To(sink.Kafka("out", codec.Int64))
	})
	batch := records("in", n, 100)
	return step{n, func() { bed.read(tb, batch) }}
}

// Records are decoded, encoded and put into the outbox.
func BenchmarkSink(b *testing.B) { run(b, written(b)) }

func written(tb testing.TB) step {
	bed := newBed(tb, 1<<30, false, func(topo *stream.Topology) {
		topo.From(source.Kafka("in", codec.String)).To(sink.Kafka("out", codec.String))
	})
	batch := records("in", n, 100)
	return step{n, func() { bed.read(tb, batch) }}
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
	b.Run("hit", func(b *testing.B) { run(b, again(b, 1<<30, n, count)) })
	b.Run("miss", func(b *testing.B) { misses(b, count) })
}

func count(topo *stream.Topology) { numbers(topo, "in").Count("n") }

func windowCount(topo *stream.Topology) {
	numbers(topo, "in").Filter(func(_, n int64) bool { return n >= 0 }).MapValues(func(_, n int64) int64 { return n + 1 }).
		Window(window.Hopping{Size: 6 * time.Hour, Advance: 2 * time.Hour}).Count("n").
		OnClose(func(_ int64, s window.Span, n int64) int64 { return n }).To(sink.Kafka("out", codec.Int64))
}

// again reads the same records again and again. The first time is not counted.
func again(tb testing.TB, cache int64, keys int, build func(*stream.Topology)) step {
	bed, batch := newBed(tb, cache, false, build), records("in", n, keys)
	bed.read(tb, batch)
	return step{n, func() { bed.read(tb, batch) }}
}

// misses does it with a cache that keeps nothing from one epoch to the next; the end of the epoch is not counted.
func misses(b *testing.B, build func(*stream.Topology)) {
	const n = 10_000
	bed, batch := newBed(b, 0, false, build), records("in", n, n)
	bed.read(b, batch)
	bed.commit(b, bed.batch(bed.cut(b)))
	perRecord(b, n, func() {
		bed.read(b, batch)
		b.StopTimer()
		bed.commit(b, bed.batch(bed.cut(b)))
		b.StartTimer()
	})
}

// A record goes through a chain into overlapping windows of its key: open ones in the cache or to be read from the store, or such as
// are opened by it and closed by the next batch.
func BenchmarkWindow(b *testing.B) {
	b.Run("hit", func(b *testing.B) { run(b, again(b, 1<<30, 100, windowCount)) })
	b.Run("miss", func(b *testing.B) { misses(b, windowCount) })
	b.Run("open and close", func(b *testing.B) { run(b, onwards(b, n, 24*time.Hour, windowCount)) })
}

// onwards reads the same records again and again, each time so much later.
func onwards(tb testing.TB, keys int, by time.Duration, build func(*stream.Topology)) step {
	bed, batch := newBed(tb, 1<<30, false, build), records("in", n, keys)
	return step{n, func() {
		bed.read(tb, batch)
		later(batch, by)
	}}
}

// One record of each side per key and hour, each of which finds the other.
func BenchmarkJoinProbe(b *testing.B) { run(b, joined(b)) }

func joined(tb testing.TB) step {
	bed := newBed(tb, 1<<30, false, func(topo *stream.Topology) {
		numbers(topo, "in").Join("pairs", numbers(topo, "right"), window.Join{Before: time.Minute, After: time.Minute},
			func(l, r int64) int64 { return l + r }).To(sink.Kafka("out", codec.Int64))
	})
	left, right := records("in", n, n), records("right", n, n)
	return step{2 * n, func() {
		bed.read(tb, left, right)
		later(left, time.Hour)
		later(right, time.Hour)
	}}
}

// Each record extends the session of its key; the sessions of the batch before are closed by it.
func BenchmarkSessionMerge(b *testing.B) { run(b, onwards(b, 10, time.Hour, sessions)) }

func sessions(topo *stream.Topology) {
	numbers(topo, "in").Window(window.Session{Gap: time.Minute}).Count("n").
		OnClose(func(_ int64, _ window.Span, n int64) int64 { return n }).To(sink.Kafka("out", codec.Int64))
}

// Each record sets a timer, which fires with the next batch.
func BenchmarkTimer(b *testing.B) { run(b, onwards(b, n, time.Hour, timers)) }

func timers(topo *stream.Topology) {
	numbers(topo, "in").Process("p", func(p *stream.Process[int64, int64, int64], _ int64) { p.SetTimer(p.Time().Add(time.Minute)) },
		func(p *stream.Process[int64, int64, int64], _ stream.Timer) {})
}

// An epoch in which 10,000 rows have changed, by phase; the time is per row. What the broker adds is measured by
// benchmarks/kafka.
func BenchmarkEpoch(b *testing.B) {
	const n = 10_000
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
func BenchmarkExchange(b *testing.B) { run(b, exchanged(b)) }

func exchanged(tb testing.TB) step {
	bed := newBed(tb, 1<<30, true, func(topo *stream.Topology) {
		topo.From(source.Kafka("in", codec.Int64, source.MaxAhead(-1))).KeyBy(func(n int64) int64 { return n / 2 }).
			Repartition("by-half", stream.Repartitioning{Partitions: 1}, codec.Int64).
			Filter(func(_, n int64) bool { return n < 0 }).Count("n")
	})
	in, counts := records("in", n, n), func() map[string]int32 { return map[string]int32{} }
	return step{n, func() {
		bed.read(tb, in)
		got := 0
		bed.prog.Pass(bed.tasks[0], counts, func(batch source.Batch, x task.Parcel) {
			bed.tasks[1].Ports[0].Hand(batch, x)
			got += x.Len()
		})
		if got != n {
			tb.Fatalf("%d records exchanged, not %d", got, n)
		}
		bed.step(tb, bed.tasks[1], got)
	}}
}

// Records are added up before they would go to the task of their new key: the step that takes its place for skewed keys.
func BenchmarkGather(b *testing.B) {
	b.Run("tumbling", func(b *testing.B) { run(b, gathered(b)) })
	b.Run("sessions", func(b *testing.B) { run(b, gatheredSessions(b)) })
}

func gathered(tb testing.TB) step { return gather(tb, window.Tumbling{Size: 24 * time.Hour}) }

func gatheredSessions(tb testing.TB) step { return gather(tb, window.Session{Gap: time.Hour}) }

func gather(tb testing.TB, w window.Window) step {
	bed := newBed(tb, 1<<30, false, func(topo *stream.Topology) {
		topo.From(source.Kafka("in", codec.Int64, source.MaxAhead(-1))).KeyBy(func(n int64) int64 { return n % 10 }).
			Window(w).Count("n").
			OnClose(func(_ int64, _ window.Span, n int64) int64 { return n }).To(sink.Kafka("out", codec.Int64))
	})
	batch := records("in", n, n)
	return step{n, func() { bed.read(tb, batch) }}
}

// The entries of a changelog go to the store, 10,000 at a time, as a restore does it.
func BenchmarkRestore(b *testing.B) {
	const n = 10_000
	bed := newBed(b, 1<<30, false, count)
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
