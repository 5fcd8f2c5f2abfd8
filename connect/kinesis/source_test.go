package kinesis_test

import (
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
	"github.com/millstream-go/millstream/connect/kinesis/lease"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

func names(n int) (keys []string) {
	for i := range n {
		keys = append(keys, fmt.Sprintf("key-%d", i))
	}
	return keys
}

func TestReadsAndRestarts(t *testing.T) {
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 3)
	f.CreateStream("out", 2)
	dir := t.TempDir()
	f.put("in", 20, names(10)...)
	in := f.run(tallies(), dir, f.streams())
	f.expect(in)
	f.putPacked("in", 3, names(10)...)
	f.expect(in)
	in.stop(t)
	f.put("in", 5, names(12)...)
	in = f.run(tallies(), dir, f.streams())
	f.expect(in)
}

// Shards are split and merged while they are read; what lies in them is larger than what was read when that happens.
func TestReshard(t *testing.T) {
	t.Parallel()
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 2)
	f.CreateStream("out", 2)
	dir := t.TempDir()
	in := f.run(tallies(), dir, f.streams())
	keys := names(30)
	for round := range 4 {
		f.put("in", 40, keys...)
		open := f.Shards("in")
		require.NoError(t, f.Split("in", open[round%len(open)]))
		f.putPacked("in", 2, keys...)
		open = f.Shards("in")
		require.NoError(t, f.Merge("in", open[0], open[1]))
		f.put("in", 10, keys...)
		if round == 1 {
			f.expect(in)
			in.stop(t)
			in = f.run(tallies(), dir, f.streams())
		}
	}
	f.expect(in)
	require.Equal(t, 4+8, f.events.of(kinesis.Reshaped))
	in.stop(t)
	f.put("in", 3, keys...)
	in = f.run(tallies(), dir, f.streams())
	f.expect(in)
}

// What a crash between the store's batch and the checkpoint leaves is the store's: the application goes on from there, and
// nothing is counted twice. The leases lose the checkpoints of every second commit, and end the session.
func TestGoesOnFromTheStore(t *testing.T) {
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 2)
	f.CreateStream("out", 1)
	c := f.streams()
	leases := &failing{every: 2}
	c.Leases = kinesis.Failing(leases.err)
	in := f.run(tallies(), t.TempDir(), c)
	keys := names(10)
	for round := 0; leases.failed() < 4; round++ {
		require.Less(t, round, 100)
		f.put("in", 10, keys...)
		f.expect(in)
		open := f.Shards("in")
		require.NoError(t, f.Split("in", open[0]))
	}
	f.expect(in)
}

// failing fails every n-th checkpoint.
type failing struct {
	mu       sync.Mutex
	every, n int
	bad      int
}

func (l *failing) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n++; l.n%l.every != 0 {
		return nil
	}
	l.bad++
	return errors.New("the checkpoint is lost, as the test wants it")
}

func (l *failing) failed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bad
}

// Throttling, failures of the service, lost answers and expired iterators change no result.
func TestFaultsOfReading(t *testing.T) {
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 2)
	f.CreateStream("out", 1)
	keys := names(20)
	f.put("in", 20, keys...)
	for i, bad := range []string{"ProvisionedThroughputExceededException", "InternalFailure", "ExpiredIteratorException", "KMSThrottlingException"} {
		f.Fault(kinesistest.Fault{Action: "GetRecords", After: 3 + 2*i, Times: 2, Error: bad})
	}
	f.Fault(kinesistest.Fault{Action: "GetRecords", After: 1, Times: 2, LoseAnswer: true})
	f.Fault(kinesistest.Fault{Action: "GetShardIterator", Error: "ProvisionedThroughputExceededException"})
	f.Fault(kinesistest.Fault{Action: "ListShards", After: 1, Error: "LimitExceededException"})
	f.Fault(kinesistest.Fault{Action: "GetRecords", After: 2, Delay: time.Minute}) // beyond the deadline
	c := f.streams()
	c.CallTimeout = 200 * time.Millisecond
	in := f.run(tallies(), t.TempDir(), c)
	f.put("in", 10, keys...)
	require.NoError(t, f.Split("in", f.Shards("in")[0]))
	f.put("in", 10, keys...)
	require.Eventually(t, func() bool { return f.Pending() == 0 }, patience, time.Millisecond)
	f.expect(in)
	require.Equal(t, 2, f.events.of(kinesis.Expired))
	require.Equal(t, 2+2+1+1, f.events.of(kinesis.Throttled))
}

// A stream that is read from its end: what is written later is read, that of shards which come later from their beginning.
func TestStartsAtTheEnd(t *testing.T) {
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 2)
	f.CreateStream("out", 1)
	keys := names(8)
	f.put("in", 5, keys...)
	in := f.run(tallies(source.StartAt(source.Latest)), t.TempDir(), f.streams())
	require.Eventually(t, func() bool { return f.Calls()["GetRecords"] >= 4 }, patience, time.Millisecond)
	require.NoError(t, f.Split("in", f.Shards("in")[0]))
	clear(f.numbers)
	f.put("in", 5, keys...)
	f.expect(in)
}

func TestStartsAtATime(t *testing.T) {
	var now atomic.Int64
	now.Store(time.Now().Add(-time.Hour).UnixMilli())
	f := start(t, kinesistest.Options{Now: func() time.Time { return time.UnixMilli(now.Load()) }})
	f.CreateStream("in", 2)
	f.CreateStream("out", 1)
	keys := names(8)
	f.put("in", 5, keys...)
	now.Add(60_000)
	from := time.UnixMilli(now.Load())
	clear(f.numbers)
	f.put("in", 5, keys...)
	f.expect(f.run(tallies(source.StartAtTime(from)), t.TempDir(), f.streams()))
}

// Windows close by the smallest watermark of all shards, and those that follow a split or a merge go on with it: nothing
// is late though no lateness is allowed, however unevenly shards are read.
func TestWatermarksAcrossReshards(t *testing.T) {
	t.Parallel()
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 3)
	f.CreateStream("out", 1)
	f.CreateStream("late", 1)
	topo := stream.New("windows")
	counts := topo.From(source.Kinesis("in", codec.JSON[reading]())).EventTime(func(r reading) time.Time { return time.UnixMilli(r.At) }, stream.Watermark{}).
		KeyBy(func(r reading) string { return r.Key }).Window(window.Tumbling{Size: 10 * time.Second}).Count("counts")
	counts.OnClose(func(k string, s window.Span, n int64) tally {
		return tally{Key: fmt.Sprint(k, " ", s.From), Count: int(n)}
	}).To(sink.Kinesis("out", codec.JSON[tally]()))
	counts.Late(func(_ string, l stream.LateRecord[reading]) reading { return l.Value }).To(sink.Kinesis("late", codec.JSON[reading]()))
	keys := names(20)
	dir := t.TempDir()
	in := f.run(topo, dir, f.streams())
	for round := range 5 {
		f.Fault(kinesistest.Fault{Action: "GetRecords", Shard: f.Shards("in")[round%2], Times: 4, Error: "ProvisionedThroughputExceededException"})
		f.put("in", 20, keys...)
		open := f.Shards("in")
		require.NoError(t, f.Split("in", open[round%len(open)]))
		f.put("in", 5, keys...)
		if open = f.Shards("in"); round%2 == 1 {
			require.NoError(t, f.Merge("in", open[1], open[2]))
		}
		if round == 2 {
			in.stop(t)
			in = f.run(topo, dir, f.streams())
		}
	}
	f.put("in", 11, keys...) // 136 of each key
	var last []types.PutRecordsRequestEntry
	for _, k := range names(300) { // into every shard
		b, err := json.Marshal(reading{"end", 1, 1_000_000})
		require.NoError(t, err)
		last = append(last, types.PutRecordsRequestEntry{PartitionKey: aws.String(k), Data: b})
	}
	f.putAll("in", last)
	closed := func() map[string]int {
		m := map[string]int{}
		for _, r := range f.read("out") {
			var a tally
			require.NoError(t, json.Unmarshal(r.Data, &a))
			m[a.Key] += a.Count
		}
		return m
	}
	want := map[string]int{}
	for _, k := range keys {
		for at := 10_000; at < 130_000; at += 10_000 {
			want[fmt.Sprint(k, " ", at)] = 10
		}
	}
	require.Eventually(t, func() bool {
		got := closed()
		for k := range want {
			if got[k] != want[k] {
				return false
			}
		}
		return true
	}, patience, 20*time.Millisecond, "%v", in.log)
	require.Empty(t, f.read("late"))
}

// Two instances share a stream by leases in a table: each reads some shards, hands them over in good order when the other comes or
// it stops itself, and those that follow a split or merge begin when all before them are checkpointed, by whichever
// instance.
func TestSharedLeases(t *testing.T) {
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 4)
	f.CreateStream("out", 2)
	c := f.streams()
	db := f.dynamodb()
	c.Leases = lease.Table{Failover: time.Second, Client: db}
	through := func(c *stream.Config) { c.Exchange = stream.ThroughTopic }
	keys := names(30)
	f.put("in", 5, keys...)
	first := f.run(copies(), t.TempDir(), c, through)
	require.Zero(t, f.arrived(first))
	second := f.run(copies(), t.TempDir(), c, through)
	reads := func(in *instance) int {
		n := 0
		s, err := in.Status(t.Context())
		require.NoError(t, err)
		for _, k := range s.Tasks {
			if k.State == "running" {
				n++
			}
		}
		return n
	}
	require.Eventually(t, func() bool { return reads(first) > 0 && reads(second) > 0 }, patience, 10*time.Millisecond)
	f.put("in", 5, keys...)
	open := f.Shards("in")
	require.NoError(t, f.Split("in", open[0]))
	require.NoError(t, f.Merge("in", open[2], open[3]))
	f.put("in", 5, keys...)
	f.arrived(first)
	require.Eventually(t, func() bool { // what shards bring is measured, for leases to be assigned by
		f.put("in", 1, keys...)
		rows, err := db.Scan(t.Context(), &dynamodb.ScanInput{TableName: aws.String("test-in")})
		require.NoError(t, err)
		return slices.ContainsFunc(rows.Items, func(row map[string]ddb.AttributeValue) bool { return row["throughputKBps"] != nil })
	}, patience, 50*time.Millisecond)
	first.stop(t)
	f.put("in", 5, keys...)
	f.arrived(second)
	second.stop(t)
	require.GreaterOrEqual(t, f.events.of(kinesis.LeaseTaken), 4+3)
	require.Positive(t, f.events.of(kinesis.LeaseAsked))

	// State would stay behind when a shard goes.
	err := f.run(tallies(), t.TempDir(), c).wait(t)
	require.ErrorIs(t, err, connect.ErrStop)
	require.ErrorContains(t, err, "the leases are shared among instances")
}

// Where leases are shared, a stream begins where its source says, too.
func TestSharedStarts(t *testing.T) {
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 2)
	f.CreateStream("out", 1)
	keys := names(8)
	f.put("in", 5, keys...)
	latest := func() *stream.Topology {
		topo := stream.New("copies")
		topo.From(source.Kinesis("in", codec.JSON[reading](), source.StartAt(source.Latest))).To(sink.Kinesis("out", codec.JSON[reading]()))
		return topo
	}
	through := func(c *stream.Config) { c.Exchange = stream.ThroughTopic }
	c := f.streams()
	c.Leases = lease.Table{Failover: time.Second, Client: f.dynamodb(), Start: lease.TrimHorizon}
	err := f.run(latest(), t.TempDir(), c, through).wait(t)
	require.ErrorIs(t, err, connect.ErrStop)
	require.ErrorContains(t, err, `Table.Start is "TRIM_HORIZON", and the source in says "LATEST"`)
	c.Leases = lease.Table{Failover: time.Second, Client: f.dynamodb()}
	in := f.run(latest(), t.TempDir(), c, through)
	require.Eventually(t, func() bool { return f.Calls()["GetRecords"] >= 4 }, patience, time.Millisecond)
	clear(f.numbers)
	f.put("in", 5, keys...)
	require.Zero(t, f.arrived(in))
}

// The calls that are made are those that the documentation lists rights for.
func TestRights(t *testing.T) {
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 1)
	f.CreateStream("out", 1)
	in := f.run(copies(), t.TempDir(), f.streams())
	require.Eventually(t, func() bool { return f.Calls()["GetRecords"] > 0 }, patience, time.Millisecond)
	f.put("in", 5, "a")
	f.arrived(in)
	calls := slices.Sorted(maps.Keys(f.Calls()))
	require.Equal(t, []string{"DescribeStreamSummary", "GetRecords", "GetShardIterator", "ListShards", "PutRecords"}, calls)
	doc, err := os.ReadFile("../../docs/guarantees.md")
	require.NoError(t, err)
	_, rights, _ := strings.Cut(string(doc), "- **Rights**: `DescribeStreamSummary`")
	for _, call := range calls[1:] {
		require.Contains(t, rights, "`"+call+"`")
	}
}

// However much there is to read, no more is fetched than the engine has room for, and a small part of an answer for each
// reader: a task that stands still holds its readers back.
func TestBackpressure(t *testing.T) {
	t.Parallel()
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 2)
	f.CreateStream("out", 1)
	var in []types.PutRecordsRequestEntry
	for i := range 800 {
		in = append(in, types.PutRecordsRequestEntry{PartitionKey: aws.String(fmt.Sprint(i)), Data: make([]byte, 20_000)})
	}
	f.putAll("in", in)
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	defer open()
	var read atomic.Int64
	topo := stream.New("slow")
	topo.From(source.Kinesis("in", codec.Bytes)).Filter(func([]byte) bool { <-gate; read.Add(1); return false }).To(sink.Kinesis("out", codec.Bytes))
	app := f.run(topo, t.TempDir(), f.streams(), func(c *stream.Config) { c.MemoryBudget = 32 << 20 })
	polled := func() int { return f.Calls()["GetRecords"] }
	last := -1
	require.Eventually(t, func() bool { now := polled(); still := now == last && now > 0; last = now; return still }, patience, 500*time.Millisecond)
	require.Less(t, f.served.Load(), int64(8<<20), "of 21 MB; the room is 2 MiB")
	open()
	require.Eventually(t, func() bool { return read.Load() == 800 }, patience, time.Millisecond)
	app.stop(t)
}

// Time goes on in a stream that is silent, where it is proven that there was nothing more to read.
func TestProvenTime(t *testing.T) {
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 2)
	f.CreateStream("out", 1)
	topo := stream.New("windows")
	topo.From(source.Kinesis("in", codec.JSON[reading]())).EventTime(func(r reading) time.Time { return time.UnixMilli(r.At) }, stream.Watermark{Proven: 100 * time.Millisecond}).
		KeyBy(func(r reading) string { return r.Key }).Window(window.Tumbling{Size: 100 * time.Millisecond}).Count("counts").
		OnClose(func(k string, _ window.Span, n int64) tally { return tally{Key: k, Count: int(n)} }).To(sink.Kinesis("out", codec.JSON[tally]()))
	b, err := json.Marshal(reading{"a", 1, time.Now().UnixMilli()})
	require.NoError(t, err)
	f.putAll("in", []types.PutRecordsRequestEntry{{PartitionKey: aws.String("a"), Data: b}})
	f.run(topo, t.TempDir(), f.streams())
	require.Eventually(t, func() bool { return len(f.read("out")) == 1 }, patience, 5*time.Millisecond)
}

// The two guarantees are the same here.
func TestAtLeastOnce(t *testing.T) {
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 2)
	f.CreateStream("out", 1)
	dir := t.TempDir()
	atLeast := func(c *stream.Config) { c.Guarantee = connect.AtLeastOnce }
	for range 2 {
		f.put("in", 5, names(9)...)
		in := f.run(tallies(), dir, f.streams(), atLeast)
		f.expect(in)
		in.stop(t)
	}
}

// A damaged aggregate goes the way of a record that does not decode; what it held is not lost without a word.
func TestDamagedAggregate(t *testing.T) {
	f := start(t, kinesistest.Options{})
	for _, name := range []string{"in", "out", "dead"} {
		f.CreateStream(name, 1)
	}
	// Valid in its checksum; its record names a key that is not in the table.
	body := []byte{0x0a, 1, 'k', 0x1a, 5, 0x08, 7, 0x1a, 1, 'x'}
	sum := md5.Sum(body)
	blob := append(append([]byte{0xF3, 0x89, 0x9A, 0xC2}, body...), sum[:]...)
	f.putAll("in", []types.PutRecordsRequestEntry{{PartitionKey: aws.String("a"), Data: blob}})
	f.put("in", 1, "a")
	in := f.run(tallies(source.OnError(onerror.DeadLetter("dead"))), t.TempDir(), f.streams())
	f.expect(in)
	require.Eventually(t, func() bool { return len(f.read("dead")) == 1 }, patience, time.Millisecond)
	require.Equal(t, 1, f.events.of(kinesis.BadAggregate))
}
