package stream_test

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/store"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

// bench is one task of a topology that reads the topic "in", with nothing around it.
type bench struct {
	task  *task.Task
	store *store.Store
	batch source.Batch
	epoch uint64
}

// topics is as much of a session as the making of a task needs.
type topics struct{ connect.Session }

func (topics) Partitions() map[string]int32 { return map[string]int32{"in": 1, "out": 1} }
func (topics) Limits(string) connect.Limits { return connect.Limits{} }

// numbers reads numbers with numbers as keys, which costs nothing to decode.
func numbers(topo *stream.Topology) stream.Keyed[int64, int64] {
	return topo.FromKeyed(source.KafkaKeyed("in", codec.Int64, codec.Int64, source.MaxAhead(-1)))
}

// newBench makes the task, and a batch of n records whose keys are 0 to keys-1 in turn, a millisecond apart.
func newBench(tb testing.TB, n, keys int, cache int64, build func(topo *stream.Topology)) *bench {
	tb.Helper()
	prog, _, err := made(build)().Program("bench", stream.Semantics{})
	require.NoError(tb, err)
	require.Len(tb, prog.Subtopologies, 1)
	st, err := store.OpenMem(store.Options{KeyGroups: 8, Stores: prog.Stores, CacheBytes: 64 << 20, MemTableBytes: 16 << 20})
	require.NoError(tb, err)
	tb.Cleanup(func() { assert.NoError(tb, st.Close()) })
	sub := prog.Subtopologies[0]
	spec := &task.Spec{Subtopology: sub.Name, Owner: "bench", Changelog: sub.Changelog, KeyGroups: 8}
	spec.MaxHeld.Store(cache)
	b := &bench{store: st, epoch: 1}
	b.task = prog.NewTask(sub, spec, 0, topics{}, connect.ExactlyOnce, st.View(0), func(bad task.Bad) { tb.Fatal(bad.Err) })
	require.NoError(tb, b.task.Restore())
	b.task.Ports[0].Start(nil, true)
	b.batch = source.Batch{Partition: source.Partition{Stream: "in"}, Bytes: 1, CaughtUp: true}
	for i := range n {
		key := binary.BigEndian.AppendUint64(nil, uint64(i%keys))
		b.batch.Records = append(b.batch.Records, source.Record{Key: key, Value: key, Time: noon.UnixMilli() + int64(i), Position: source.At(int64(i))})
	}
	b.batch.Next = source.At(int64(n))
	return b
}

// read reads the batch once.
func (b *bench) read(tb testing.TB) {
	b.task.Ports[0].Offer(b.batch)
	if _, err := b.task.Step(noon.UnixMilli(), len(b.batch.Records)); err != nil {
		tb.Fatal(err)
	}
	b.task.Out.Records, b.task.Out.Bytes = b.task.Out.Records[:0], 0
}

// cut ends an epoch and applies it to the store.
func (b *bench) cut(tb testing.TB) {
	d, err := b.task.Cut(b.epoch)
	if err != nil {
		tb.Fatal(err)
	}
	batch := b.store.NewBatch()
	for _, e := range d.Entries {
		if e.Value == nil {
			batch.Delete(0, e.Key)
		} else {
			batch.Set(0, e.Key, e.Value)
		}
	}
	if err := batch.Commit(false); err != nil {
		tb.Fatal(err)
	}
	b.task.Applied(b.epoch)
	b.epoch++
}

// later moves the batch's times.
func (b *bench) later(by time.Duration) {
	for i := range b.batch.Records {
		b.batch.Records[i].Time += by.Milliseconds()
	}
}

func windowCount(topo *stream.Topology) {
	numbers(topo).Filter(func(_, n int64) bool { return n >= 0 }).MapValues(func(_, n int64) int64 { return n + 1 }).
		Window(window.Hopping{Size: 6 * time.Hour, Advance: 2 * time.Hour}).Count("n").
		OnClose(func(_ int64, s window.Span, n int64) int64 { return n }).To(sink.Kafka("out", codec.Int64))
}

// A record that goes through a chain into windows that are in memory costs no allocation.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	const n = 1000
	for name, build := range map[string]func(topo *stream.Topology){
		"filter, map, window count": windowCount,
		"count":                     func(topo *stream.Topology) { numbers(topo).Count("n") },
		"fold": func(topo *stream.Topology) {
			type sum struct{ N, Sum int64 }
			numbers(topo).Fold("f", func(s *sum, n int64) { s.N++; s.Sum += n })
		},
		"process": func(topo *stream.Topology) {
			numbers(topo).Process("p", func(p *stream.Process[int64, int64, int64], n int64) { *p.State() += n }, nil)
		},
		"event time, split, merge": func(topo *stream.Topology) {
			s := topo.From(source.Kafka("in", codec.Int64)).EventTime(func(int64) time.Time { return noon }, stream.Watermark{}).
				Split(func(n int64) bool { return n%2 == 0 })
			s[0].Merge(s[1]).Filter(func(n int64) bool { return n < 0 }).To(sink.Kafka("out", codec.Int64))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, n, 100, 1<<30, build)
			for range 300 { // until the cache of keys has the size for them
				b.read(t)
			}
			allocs := testing.AllocsPerRun(20, func() { b.read(t) })
			assert.Less(t, allocs/n, 0.01, "allocations per record; %v per batch", allocs)
		})
	}
}

// perRecord runs f for batches of records until b.N records are done.
func perRecord(b *testing.B, n int, f func()) {
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += n {
		f()
	}
}

func BenchmarkChain(b *testing.B) {
	for _, ops := range []int{1, 4, 16} {
		b.Run(fmt.Sprint(ops), func(b *testing.B) {
			bed := newBench(b, 1000, 100, 1<<30, func(topo *stream.Topology) {
				s := topo.From(source.Kafka("in", codec.Int64))
				for range ops - 1 {
					s = s.Map(func(n int64) int64 { return n + 1 })
				}
				s.Filter(func(n int64) bool { return n < 0 }).To(sink.Kafka("out", codec.Int64))
			})
			perRecord(b, 1000, func() { bed.read(b) })
		})
	}
}

func BenchmarkSink(b *testing.B) {
	bed := newBench(b, 1000, 100, 1<<30, func(topo *stream.Topology) { texts(topo).To(to("out")) })
	perRecord(b, 1000, func() { bed.read(b) })
}

func BenchmarkWindow(b *testing.B) {
	b.Run("hit", func(b *testing.B) {
		bed := newBench(b, 1000, 100, 1<<30, windowCount)
		bed.read(b)
		perRecord(b, 1000, func() { bed.read(b) })
	})
	b.Run("miss", func(b *testing.B) { // nothing is kept from one epoch to the next
		const n = 10_000
		bed := newBench(b, n, n, 0, windowCount)
		bed.read(b)
		bed.cut(b)
		perRecord(b, n, func() {
			bed.read(b)
			b.StopTimer()
			bed.cut(b)
			b.StartTimer()
		})
	})
	b.Run("open and close", func(b *testing.B) { // each batch closes the windows of the one before
		bed := newBench(b, 1000, 1000, 1<<30, windowCount)
		perRecord(b, 1000, func() {
			bed.read(b)
			bed.later(24 * time.Hour)
		})
	})
}

func BenchmarkTimer(b *testing.B) {
	const n = 1000
	bed := newBench(b, n, n, 1<<30, func(topo *stream.Topology) {
		numbers(topo).Process("p", func(p *stream.Process[int64, int64, int64], _ int64) { p.SetTimer(p.Time().Add(time.Minute)) },
			func(p *stream.Process[int64, int64, int64], _ stream.Timer) {})
	})
	perRecord(b, n, func() {
		bed.read(b)
		bed.later(time.Hour)
	})
}

// An epoch in which 10,000 entries have changed: encoded, sorted, and applied to the store.
func BenchmarkCut(b *testing.B) {
	const n = 10_000
	bed := newBench(b, n, n, 1<<30, func(topo *stream.Topology) { numbers(topo).Count("n") })
	perRecord(b, n, func() {
		b.StopTimer()
		bed.read(b)
		b.StartTimer()
		bed.cut(b)
	})
}
