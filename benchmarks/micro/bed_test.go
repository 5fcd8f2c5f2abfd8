// Package micro measures the steps that a record goes through, each alone: without a broker, and without goroutines.
// run.sh runs these and those beside the code, and keeps the results for benchstat.
package micro

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect"
	engine "github.com/millstream-go/millstream/internal/runtime"
	"github.com/millstream-go/millstream/internal/store"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// topics is as much of a session as the making of a task needs.
type topics struct {
	connect.Session
	counts map[string]int32
}

func (t topics) Partitions() map[string]int32 { return t.counts }
func (topics) Limits(string) connect.Limits   { return connect.Limits{} }

// bed is the tasks of a topology that reads the topic "in" (and "right"), one of each subtopology, with nothing around.
type bed struct {
	prog  *engine.Program
	tasks []*task.Task
	store *store.Store
	epoch uint64

	session topics
}

func newBed(tb testing.TB, cache int64, memory bool, build func(topo *stream.Topology)) *bed {
	tb.Helper()
	topo := stream.New("bench")
	build(topo)
	prog, _, err := topo.Program("bench", stream.Semantics{})
	require.NoError(tb, err)
	if memory {
		prog.InMemory()
	}
	st, err := store.OpenMem(store.Options{KeyGroups: 8, Stores: prog.Stores, CacheBytes: 64 << 20, MemTableBytes: 16 << 20})
	require.NoError(tb, err)
	tb.Cleanup(func() { assert.NoError(tb, st.Close()) })
	session := topics{counts: map[string]int32{"in": 1, "right": 1, "out": 1}}
	for _, sub := range prog.Subtopologies {
		for _, w := range sub.Writes {
			session.counts[w.Name] = 1
		}
	}
	b := &bed{prog: prog, store: st, epoch: 1, session: session}
	for _, sub := range prog.Subtopologies {
		b.tasks = append(b.tasks, b.task(tb, sub, cache))
	}
	return b
}

// task makes a task that goes on from what the store has.
func (b *bed) task(tb testing.TB, sub *engine.Subtopology, cache int64) *task.Task {
	spec := &task.Spec{Subtopology: sub.Name, Owner: "bench", Changelog: sub.Changelog, KeyGroups: 8}
	spec.MaxHeld.Store(cache)
	t := b.prog.NewTask(sub, spec, 0, b.session, connect.ExactlyOnce, b.store.View(0), func(bad task.Bad) { tb.Fatal(bad.Err) })
	require.NoError(tb, t.Restore())
	for _, p := range t.Ports {
		p.Start(nil, true)
	}
	return t
}

// records are n records a millisecond apart, whose keys are 0 to keys-1 in turn.
func records(topic string, n, keys int) source.Batch {
	b := source.Batch{Partition: source.Partition{Stream: topic}, Bytes: 1, CaughtUp: true}
	for i := range n {
		key := binary.BigEndian.AppendUint64(nil, uint64(i%keys))
		b.Records = append(b.Records, source.Record{Key: key, Value: key, Time: noon.UnixMilli() + int64(i), Position: source.At(int64(i))})
	}
	b.Next = source.At(int64(n))
	return b
}

// later moves the batch's times.
func later(b source.Batch, by time.Duration) {
	for i := range b.Records {
		b.Records[i].Time += by.Milliseconds()
	}
}

// read reads batches once, one for each input of the first task.
func (b *bed) read(tb testing.TB, batches ...source.Batch) {
	n := 0
	for _, batch := range batches {
		for _, p := range b.tasks[0].Ports {
			if p.Spec.Name == batch.Partition.Stream {
				p.Offer(batch)
			}
		}
		n += len(batch.Records)
	}
	b.step(tb, b.tasks[0], n)
}

func (b *bed) step(tb testing.TB, t *task.Task, n int) {
	if _, err := t.Step(noon.UnixMilli(), n); err != nil {
		tb.Fatal(err)
	}
	t.Out.Records, t.Out.Bytes = t.Out.Records[:0], 0
}

// cut ends an epoch: the changed entries, encoded and in order.
func (b *bed) cut(tb testing.TB) *task.Delta {
	d, err := b.tasks[0].Cut(b.epoch)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// batch makes of an epoch's entries what the store takes.
func (b *bed) batch(d *task.Delta) *store.Batch {
	batch := b.store.NewBatch()
	for _, e := range d.Entries {
		if e.Value == nil {
			batch.Delete(0, e.Key)
		} else {
			batch.Set(0, e.Key, e.Value)
		}
	}
	return batch
}

// commit applies the batch to the store, and begins the next epoch.
func (b *bed) commit(tb testing.TB, batch *store.Batch) {
	if err := batch.Commit(false); err != nil {
		tb.Fatal(err)
	}
	b.tasks[0].Applied(b.epoch)
	b.epoch++
}

// numbers reads numbers with numbers as keys, which costs next to nothing to decode.
func numbers(topo *stream.Topology, topic string) stream.Keyed[int64, int64] {
	return topo.FromKeyed(source.KafkaKeyed(topic, codec.Int64, codec.Int64, source.MaxAhead(-1)))
}

// step is something that is done with so many records each time that do is called.
type step struct {
	records int
	do      func()
}

// run measures a step, per record.
func run(b *testing.B, s step) { perRecord(b, s.records, s.do) }

// perRecord runs f for batches of n records until b.N records are done.
func perRecord(b *testing.B, n int, f func()) {
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += n {
		f()
	}
}
