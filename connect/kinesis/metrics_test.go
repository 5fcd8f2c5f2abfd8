package kinesis_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	api "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
	"github.com/millstream-go/millstream/connect/kinesis/lease"
	"github.com/millstream-go/millstream/metrics"
	"github.com/millstream-go/millstream/stream"
)

// watcher keeps the newest sample of an application's metrics of Kinesis, by name (without what all have in common) and labels.
type watcher struct {
	mu   sync.Mutex
	now  map[string]float64
	fell []string // counters that fell
}

func (w *watcher) Receive(s metrics.Sample) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := map[string]float64{}
	for _, p := range s.Points {
		if name, ours := strings.CutPrefix(p.Metric.Name, "millstream_kinesis_"); ours {
			key := name + "{" + strings.Join(p.Values, ",") + "}"
			_, twice := now[key]
			if now[key] = p.Value; p.Metric.Kind == metrics.Counter && p.Value < w.now[key] || twice || len(p.Values) != len(p.Metric.Labels) {
				w.fell = append(w.fell, key)
			}
		}
	}
	if len(now) > 0 {
		w.now = now
	}
}

func (w *watcher) conf(c *stream.Config) {
	c.Metrics, c.MetricsInterval = []metrics.Receiver{w}, 10*time.Millisecond
}

// sum adds up a metric over the labels that are not given.
func (w *watcher) sum(prefix string) (sum float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, v := range w.now {
		if strings.HasPrefix(key, prefix) {
			sum += v
		}
	}
	return sum
}

// until waits for a sum.
func (w *watcher) until(t *testing.T, prefix string, cond func(float64) bool) {
	t.Helper()
	require.Eventually(t, func() bool { return cond(w.sum(prefix)) }, patience, 5*time.Millisecond, prefix)
}

func (w *watcher) has(t *testing.T, prefix string, want float64) {
	t.Helper()
	assert.InDelta(t, want, w.sum(prefix), 1e-9, prefix)
}

func is(want float64) func(float64) bool    { return func(v float64) bool { return v == want } }
func over(least float64) func(float64) bool { return func(v float64) bool { return v > least } }

// size is the bytes of data and keys in shards.
func (f *fake) size(name string, shards ...string) (n int) {
	f.Helper()
	for _, id := range shards {
		it, err := f.client.GetShardIterator(f.Context(), &api.GetShardIteratorInput{StreamName: &name, ShardId: &id, ShardIteratorType: types.ShardIteratorTypeTrimHorizon})
		require.NoError(f, err)
		out, err := f.client.GetRecords(f.Context(), &api.GetRecordsInput{ShardIterator: it.ShardIterator})
		require.NoError(f, err)
		require.Zero(f, *out.MillisBehindLatest, "that is all")
		for _, r := range out.Records {
			n += len(r.Data) + len(*r.PartitionKey)
		}
	}
	return n
}

func TestMetricsOfReading(t *testing.T) {
	t.Parallel()
	f, w := start(t, kinesistest.Options{}), &watcher{}
	f.CreateStream("in", 2)
	f.CreateStream("out", 1)
	f.put("in", 20, names(10)...)
	f.putPacked("in", 2, names(10)...)
	ids := f.Shards("in")
	bytes := f.size("in", ids...)
	f.Fault(kinesistest.Fault{Action: "GetRecords", Shard: ids[0], After: 3, Times: 2, Error: "ProvisionedThroughputExceededException"})
	f.Fault(kinesistest.Fault{Action: "GetRecords", Shard: ids[1], After: 3, Error: "ExpiredIteratorException"})
	f.Fault(kinesistest.Fault{Action: "GetRecords", Shard: ids[1], After: 5, Times: 3, Error: "InternalFailure"})
	c := f.streams()
	c.CallTimeout = 300 * time.Millisecond
	in := f.run(copies(), t.TempDir(), c, w.conf)
	w.until(t, "read_records_total{in,", is(300))
	w.until(t, "throttled_total{in,"+ids[0], is(2))
	w.until(t, "expired_iterators_total{in}", is(1))
	w.until(t, "retries_total{in}", is(3))
	w.until(t, "iterator_age_seconds{in,", is(0))
	read := w.sum("read_bytes_total{in,")
	assert.GreaterOrEqual(t, read, float64(bytes))
	assert.Less(t, read, float64(bytes+500), "a new iterator begins with the record that was read last")
	w.has(t, "throttled_total{in,", 2)
	w.has(t, "leases{in}", 2)
	w.has(t, "leases_taken_total{in}", 2)
	w.has(t, "leases_lost_total{in}", 0)
	w.has(t, "unfinished_parents{in}", 0)
	w.until(t, "get_records_total{in}", over(10))
	assert.Positive(t, w.sum("get_records_seconds_total{in}"))
	w.until(t, "get_records_longest_seconds{in}", over(0))

	// A shard that brings no answer falls behind.
	f.Fault(kinesistest.Fault{Action: "GetRecords", Shard: ids[0], Times: 1 << 30, Error: "InternalFailure"})
	w.until(t, "iterator_age_seconds{in,"+ids[0], over(0.3))
	f.Heal()
	w.until(t, "iterator_age_seconds{in,", is(0))

	// One that was split waits for its end.
	f.Fault(kinesistest.Fault{Action: "GetRecords", Shard: ids[1], Times: 1 << 30, Error: "InternalFailure"})
	require.NoError(t, f.Split("in", ids[1]))
	require.NoError(t, f.Split("in", ids[0])) // its end tells the reader of both
	w.until(t, "unfinished_parents{in}", is(1))
	w.until(t, "ended_shards_total{in}", is(1))
	f.Heal()
	w.until(t, "unfinished_parents{in}", is(0))
	w.until(t, "ended_shards_total{in}", is(2))
	w.until(t, "leases{in}", is(4))
	in.stop(t)
	assert.Empty(t, w.fell)
}

func TestMetricsOfPushing(t *testing.T) {
	t.Parallel()
	f, w := startQuick(t), &watcher{}
	f.CreateStream("in", 1)
	f.CreateStream("out", 1)
	f.put("in", 20, names(10)...)
	f.Fault(kinesistest.Fault{Action: "SubscribeToShard", Events: 1, Times: 2, Error: "InternalFailure"})
	in := f.run(copies(), t.TempDir(), f.pushed(), w.conf)
	w.until(t, "read_records_total{in,", is(200))
	w.until(t, "reconnects_total{in}", func(v float64) bool { return v >= 2 && v == float64(f.events.of(kinesis.Resubscribed)) })
	w.until(t, "iterator_age_seconds{in,", is(0))
	w.has(t, "fallbacks_total{in}", 0)
	w.has(t, "get_records_total{in}", 0)
	in.stop(t)
	assert.Empty(t, w.fell)
}

func TestMetricsOfWriting(t *testing.T) {
	t.Parallel()
	f, w := start(t, kinesistest.Options{}), &watcher{}
	f.CreateStream("in", 1)
	f.CreateStream("out", 2)
	in := f.run(copies(), t.TempDir(), f.streams(), w.conf)
	var refused atomic.Int64
	put := 0
	for w.sum("partial_failures_total{out}") == 0 { // until the request that meets the fault has several records
		f.Fault(kinesistest.Fault{Action: "PutRecords", After: 1, Refuse: func(i int) bool { // the first is the test's
			if i == 0 {
				refused.Add(1)
			}
			return i == 0
		}})
		f.put("in", 10, names(10)...)
		put += 100
		require.Zero(t, f.arrived(in))
		w.until(t, "written_records_total{out,", is(float64(put)))
	}
	w.has(t, "partial_failures_total{out}", 1)
	w.has(t, "throttled_total{out,shard", float64(refused.Load()))
	w.has(t, "put_records_total{out}", float64(put)+float64(refused.Load()))
	w.has(t, "possible_duplicates_total{out}", 0)
	for _, id := range f.Shards("out") {
		bytes := f.size("out", id)
		assert.Positive(t, bytes)
		w.has(t, "written_bytes_total{out,"+id, float64(bytes))
	}
	requests := w.sum("put_requests_total{out}")
	assert.Positive(t, requests)
	assert.LessOrEqual(t, requests, float64(f.Calls()["PutRecords"]))

	f.Fault(kinesistest.Fault{Action: "PutRecords", After: 1, LoseAnswer: true})
	f.put("in", 10, names(10)...)
	assert.Positive(t, f.arrived(in))
	w.until(t, "possible_duplicates_total{out}", over(0))
	w.has(t, "possible_duplicates_total{out}", float64(f.events.of(kinesis.MaybeDoubled)))
	w.has(t, "retries_total{out}", 1)
	in.stop(t)
	assert.Empty(t, w.fell)
}

// Of two instances one hands a shard over to the other, and then loses one whose row cannot be written; nothing that was
// counted is forgotten when the session begins anew.
func TestMetricsOfLeases(t *testing.T) {
	t.Parallel()
	f, a, b := start(t, kinesistest.Options{}), &watcher{}, &watcher{}
	f.CreateStream("in", 2)
	f.CreateStream("out", 1)
	c := f.streams()
	c.Leases = lease.Table{Failover: time.Second, Client: f.dynamodb()}
	c = kinesis.Hasty(c)
	shared := func(c *stream.Config) { c.Exchange = stream.ThroughTopic }
	first := f.run(copies(), t.TempDir(), c, a.conf, shared)
	a.until(t, "leases{in}", is(2))
	f.put("in", 10, names(20)...)
	a.until(t, "read_records_total{in,", is(200))
	a.until(t, "checkpoint_age_seconds{in,", is(0)) // without anything more to commit

	second := f.run(copies(), t.TempDir(), c, b.conf, shared)
	a.until(t, "leases_handed_over_total{in}", is(1))
	b.until(t, "leases_taken_total{in}", is(1))
	a.has(t, "leases_taken_total{in}", 2)
	a.has(t, "leases_lost_total{in}", 0)
	assert.Positive(t, a.sum("hand_over_seconds_total{in}"))
	b.has(t, "leases_handed_over_total{in}", 0)
	b.has(t, "read_records_total{in,", 0)

	var kept string // the shard that the first has
	for _, id := range f.Shards("in") {
		a.mu.Lock()
		if _, ok := a.now[fmt.Sprintf("checkpoint_age_seconds{in,%s}", id)]; ok {
			kept = id
		}
		a.mu.Unlock()
	}
	require.NotEmpty(t, kept)
	f.Fault(kinesistest.Fault{Action: "UpdateItem", Shard: kept, Times: 1 << 30, Error: "InternalServerError"})
	a.until(t, "leases_lost_total{in}", over(0))
	f.Heal()
	require.Eventually(t, func() bool { return a.sum("leases{in}")+b.sum("leases{in}") == 2 }, patience, 10*time.Millisecond)
	a.has(t, "leases_handed_over_total{in}", 1)
	first.stop(t)
	b.until(t, "leases{in}", is(2))
	b.has(t, "unread_shards{in}", 0)
	second.stop(t)
	assert.Empty(t, append(a.fell, b.fell...))
}
