package kafka

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kafka/kafkatest"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if !testing.Short() {
		_ = flag.Set("test.parallel", "4") // they wait more than they compute
	}
	goleak.VerifyTestMain(m)
}

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

// env is a broker to test against, with names that no other test uses.
type env struct {
	addrs  []string
	fake   *kafkatest.Broker // nil: a real broker
	suffix string
}

func fakeEnv(t *testing.T, opts ...kfake.Opt) env {
	t.Helper()
	b, err := kafkatest.Start("", nil, opts...)
	require.NoError(t, err)
	t.Cleanup(b.Close)
	return env{addrs: b.Addrs(), fake: b}
}

func (v env) name(name string) string { return name + v.suffix }

// topics creates topics, given as name, number of partitions, and so on.
func (v env) topics(t *testing.T, topics map[string]int32) {
	t.Helper()
	adm := v.admin(t)
	for name, n := range topics {
		_, err := adm.CreateTopic(t.Context(), n, 1, nil, v.name(name))
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		listed, err := adm.ListTopics(t.Context())
		for name := range topics {
			if d, ok := listed[v.name(name)]; !ok || d.Err != nil {
				return false
			}
		}
		return err == nil
	}, 20*time.Second, 20*time.Millisecond)
}

func (v env) admin(t *testing.T) *kadm.Client {
	cl, err := kgo.NewClient(kgo.SeedBrokers(v.addrs...))
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	return kadm.NewClient(cl)
}

func (v env) part(stream string, i int32) source.Partition {
	return source.Partition{Stream: v.name(stream), Index: i}
}

// app copies "in" to "out", and keeps a changelog.
func (v env) app(instance string) connect.App {
	return connect.App{
		ID: v.name("copy"), Instance: instance, Guarantee: connect.ExactlyOnce,
		CommitEvery: 100 * time.Millisecond, SessionTimeout: 6 * time.Second,
		Sources: []connect.SourceSpec{{Name: v.name("in")}}, Groups: [][]string{{v.name("in")}}, Sinks: []string{v.name("out")},
		Internal: []connect.InternalTopic{{Name: v.name("copy-changelog"), Purpose: connect.Changelog, Like: []string{v.name("in")}}},
		Logger:   testLogger(),
	}
}

func (v env) open(t *testing.T, app connect.App) *session {
	t.Helper()
	return openCluster(t, Cluster{Brokers: v.addrs, Profile: Latency, MetadataMaxAge: time.Second}, app)
}

func openCluster(t *testing.T, c Cluster, app connect.App) *session {
	t.Helper()
	s, err := c.Open(testContext(t), app)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close(context.Background()) })
	return s.(*session)
}

// commit writes one record per partition of at to "out", and commits.
func (v env) commit(ctx context.Context, s *session, value string, at ...connect.PositionCommit) error {
	if err := s.Begin(); err != nil {
		return err
	}
	if err := s.Produce(ctx, []sink.Record{{Stream: v.name("out"), Partition: 0, Value: []byte(value), Time: 1}}); err != nil {
		return err
	}
	if _, err := s.Flush(ctx); err != nil {
		return err
	}
	return s.Commit(ctx, at)
}

func next(p source.Partition, offset int64) connect.PositionCommit {
	return connect.PositionCommit{Partition: p, Next: source.At(offset), Metadata: "m"}
}

func (v env) values(t *testing.T, topic string, n int) (values []string) {
	t.Helper()
	recs, err := kafkatest.Consume(testContext(t), v.addrs, v.name(topic), n)
	require.NoError(t, err)
	for _, r := range recs {
		values = append(values, string(r.Value))
	}
	return values
}

func (v env) produce(t *testing.T, topic string, partition int32, from, to int) {
	t.Helper()
	require.NoError(t, kafkatest.Produce(testContext(t), v.addrs, numbered(v.name(topic), partition, from, to)...))
}

// run runs a session until the test ends, or the returned function is called; that returns Run's result.
func run(t *testing.T, s *session, e connect.Handler) (stop func() error) {
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

func deleteBefore(ctx context.Context, adm *kadm.Client, p source.Partition, offset int64) error {
	resp, err := adm.DeleteRecords(ctx, kadm.Offsets{p.Stream: {p.Index: {Topic: p.Stream, Partition: p.Index, At: offset}}})
	if err != nil {
		return err
	}
	return resp.Error()
}

// leave removes a static member from the application's group, as its session's end would.
func (v env) leave(t *testing.T, instance string) error {
	resp, err := v.admin(t).LeaveGroup(t.Context(), kadm.LeaveGroup(v.name("copy")).InstanceIDs(instance))
	if err != nil {
		return err
	}
	return resp.Error()
}

// foreign is a member of a group that is not ours.
func (v env) foreign(t *testing.T, group, topic string) *kgo.Client {
	cl, err := kgo.NewClient(kgo.SeedBrokers(v.addrs...), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic))
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	return cl
}
