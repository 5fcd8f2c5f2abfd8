package kafka

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kafka/kafkatest"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// engine is a handler that notes what it hears.
type engine struct {
	mu       sync.Mutex
	room     int64
	records  []source.Record
	batches  []source.Batch
	assigned map[source.Partition]bool
	lost     []source.Partition
	news     chan struct{} // one token per event, never blocks

	onAssigned func(ctx context.Context, parts []source.Partition)
	onRevoked  func(ctx context.Context, parts []source.Partition)
}

func newEngine() *engine {
	return &engine{room: 1 << 30, assigned: map[source.Partition]bool{}, news: make(chan struct{}, 1)}
}

func (e *engine) note() {
	select {
	case e.news <- struct{}{}:
	default:
	}
}

func (e *engine) Assigned(ctx context.Context, parts []source.Partition) {
	e.mu.Lock()
	for _, p := range parts {
		e.assigned[p] = true
	}
	f := e.onAssigned
	e.mu.Unlock()
	if f != nil {
		f(ctx, parts)
	}
	e.note()
}

func (e *engine) Revoked(ctx context.Context, parts []source.Partition) {
	e.mu.Lock()
	f := e.onRevoked
	e.mu.Unlock()
	if f != nil {
		f(ctx, parts)
	}
	e.mu.Lock()
	for _, p := range parts {
		delete(e.assigned, p)
	}
	e.mu.Unlock()
	e.note()
}

func (e *engine) Lost(parts []source.Partition) {
	e.mu.Lock()
	for _, p := range parts {
		delete(e.assigned, p)
	}
	e.lost = append(e.lost, parts...)
	e.mu.Unlock()
	e.note()
}

func (e *engine) Deliver(b source.Batch) {
	e.mu.Lock()
	e.records = append(e.records, b.Records...)
	e.batches = append(e.batches, b)
	e.mu.Unlock()
	e.note()
}

func (e *engine) Room() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.room
}

// until waits for a condition on what was heard.
func (e *engine) until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		e.mu.Lock()
		ok := cond()
		e.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-e.news:
		case <-deadline:
			require.Fail(t, "timed out: "+what)
		}
	}
}

func (e *engine) has(parts ...source.Partition) func() bool {
	return func() bool {
		for _, p := range parts {
			if !e.assigned[p] {
				return false
			}
		}
		return len(e.assigned) == len(parts)
	}
}

func testLogger() *slog.Logger {
	level := slog.LevelError
	if os.Getenv("MILLSTREAM_TEST_DEBUG") != "" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func startBroker(t *testing.T, topics map[string]int32) *kafkatest.Broker {
	t.Helper()
	b, err := kafkatest.Start("", topics)
	require.NoError(t, err)
	t.Cleanup(b.Close)
	return b
}

func copyApp(instance string) connect.App {
	return connect.App{
		ID: "copy", Instance: instance, Incarnation: "1", Guarantee: connect.ExactlyOnce,
		CommitEvery: 100 * time.Millisecond, SessionTimeout: 6 * time.Second,
		Sources: []connect.SourceSpec{{Name: "in"}}, Groups: [][]string{{"in"}}, Sinks: []string{"out"},
		Internal: []connect.InternalTopic{{Name: "copy-changelog", Purpose: connect.Changelog, Like: []string{"in"}}},
		Logger:   testLogger(),
	}
}

func open(t *testing.T, brokers []string, app connect.App) *session {
	t.Helper()
	s, err := Cluster{Brokers: brokers, Profile: Latency}.Open(testContext(t), app)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close(context.Background()) })
	return s.(*session)
}

// run runs a session until the test ends, or the returned function is called; that returns Run's result.
func run(t *testing.T, s *session, e *engine) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	res := make(chan error, 1)
	go func() { res <- s.Run(ctx, e) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-res
	})
	t.Cleanup(func() { _ = stop() })
	return stop
}

func part(stream string, i int32) source.Partition { return source.Partition{Stream: stream, Index: i} }

func at(offset int64) *source.Position {
	p := source.At(offset)
	return &p
}

func numbered(topic string, partition int32, from, to int) []kafkatest.Record {
	var recs []kafkatest.Record
	for i := from; i < to; i++ {
		recs = append(recs, kafkatest.Record{Topic: topic, Partition: partition, Key: []byte{byte(i)}, Value: []byte{byte(i)}, Time: time.UnixMilli(int64(i))})
	}
	return recs
}

func TestHappyPath(t *testing.T) {
	ctx := testContext(t)
	b := startBroker(t, map[string]int32{"in": 2, "out": 3})
	require.NoError(t, b.Produce(ctx, numbered("in", 0, 0, 10)...))
	require.NoError(t, b.Produce(ctx, numbered("in", 1, 10, 15)...))

	s := open(t, b.Addrs(), copyApp("a"))
	assert.Equal(t, map[string]int32{"in": 2, "out": 3, "copy-changelog": 2}, s.Partitions())
	e := newEngine()
	stop := run(t, s, e)
	e.until(t, "assignment", e.has(part("in", 0), part("in", 1)))

	parts := []source.Partition{part("in", 0), part("in", 1)}
	committed, err := s.Committed(ctx, parts)
	require.NoError(t, err)
	assert.Empty(t, committed)
	end, err := s.ReadChangelog(ctx, part("copy-changelog", 0), source.At(0), func([]source.Record) error { return nil })
	require.NoError(t, err)
	assert.Equal(t, source.At(0), end)

	caughtUp, err := s.Start(ctx, map[source.Partition]*source.Position{part("in", 0): at(3), part("in", 1): nil})
	require.NoError(t, err)
	assert.Empty(t, caughtUp)
	e.until(t, "records", func() bool { return len(e.records) == 12 })

	require.NoError(t, s.Begin())
	var recs []sink.Record
	for _, r := range e.records {
		recs = append(recs, sink.Record{Stream: "out", Partition: sink.ByKey, Key: r.Key, Value: r.Value, Time: r.Time, Headers: []source.Header{{Key: "h", Value: []byte("x")}}})
	}
	recs = append(recs, sink.Record{Stream: "copy-changelog", Partition: 0, Key: []byte("k"), Value: []byte("v"), Time: 1})
	require.NoError(t, s.Produce(ctx, recs))
	ends, err := s.Flush(ctx)
	require.NoError(t, err)
	assert.Equal(t, map[source.Partition]source.Position{part("copy-changelog", 0): source.At(1)}, ends)
	require.NoError(t, s.Commit(ctx, []connect.PositionCommit{{Partition: part("in", 0), Next: source.At(10), Metadata: "epoch 1"}, {Partition: part("in", 1), Next: source.At(5), Metadata: "epoch 1"}}))

	out, err := b.Consume(ctx, "out", 12)
	require.NoError(t, err)
	assert.Len(t, out, 12)
	for _, r := range out {
		assert.Equal(t, int32(partitionOf(r.Key, 3)), r.Partition)
		assert.Equal(t, []source.Header{{Key: "h", Value: []byte("x")}}, r.Headers)
	}
	committed, err = s.Committed(ctx, parts)
	require.NoError(t, err)
	assert.Equal(t, map[source.Partition]connect.Committed{
		part("in", 0): {Position: source.At(10), Metadata: "epoch 1"}, part("in", 1): {Position: source.At(5), Metadata: "epoch 1"},
	}, committed)

	var restored []string
	end, err = s.ReadChangelog(ctx, part("copy-changelog", 0), source.At(0), func(rs []source.Record) error {
		for _, r := range rs {
			restored = append(restored, string(r.Key)+"="+string(r.Value))
		}
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, source.At(2), end, "the marker counts")
	assert.Equal(t, []string{"k=v"}, restored)
	require.NoError(t, stop())
}
