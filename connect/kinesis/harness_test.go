package kinesis_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
	"github.com/millstream-go/millstream/connect/kinesis/kpl"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// patience is how long a test waits for what must happen. It bounds hangs; no test measures by it.
const patience = 60 * time.Second

// fake is a service and its client.
type fake struct {
	*testing.T
	*kinesistest.Server
	client  *api.Client
	served  atomic.Int64 // bytes of answers
	events  counter
	numbers map[string]int  // the last number of each key
	filled  map[string]bool // shards that were written to
}

func start(t *testing.T, o kinesistest.Options) *fake {
	t.Helper()
	s, err := kinesistest.Start(o)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	f := &fake{T: t, Server: s, numbers: map[string]int{}, filled: map[string]bool{}}
	f.client = api.New(api.Options{Region: "local", HTTPClient: counting{s.HTTPClient(), &f.served}, BaseEndpoint: aws.String(s.URL()),
		Credentials: credentials.NewStaticCredentialsProvider("any", "any", "")})
	return f
}

// dynamodb is a client of the tables.
func (f *fake) dynamodb() *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{Region: "local", HTTPClient: f.HTTPClient(), BaseEndpoint: aws.String(f.URL()), Credentials: credentials.NewStaticCredentialsProvider("any", "any", "")})
}

// counting counts the bytes of answers.
type counting struct {
	*http.Client
	n *atomic.Int64
}

func (c counting) Do(r *http.Request) (*http.Response, error) {
	res, err := c.Client.Do(r)
	if err == nil {
		res.Body = countingBody{res.Body, c.n}
	}
	return res, err
}

type countingBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (b countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

// counter counts what the connector tells.
type counter struct {
	mu sync.Mutex
	n  map[kinesis.What]int
}

func (c *counter) note(e kinesis.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[kinesis.What]int{}
	}
	c.n[e.What] += e.N
}

func (c *counter) of(w kinesis.What) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[w]
}

// streams is the connector, quick enough for tests.
func (f *fake) streams() kinesis.Streams {
	return kinesis.Streams{Client: f.client, PollEvery: 5 * time.Millisecond, CallsPerSecond: 1000, Tasks: 4, Write: kinesis.Write{Linger: time.Millisecond}, Observe: f.events.note}
}

// reading is what the tests' records hold.
type reading struct {
	Key string
	N   int   // 1, 2, 3... of its key
	At  int64 // ms
}

// put writes so many records of each key, in turn, numbered on from those before.
func (f *fake) put(name string, n int, keys ...string) {
	f.Helper()
	var in []types.PutRecordsRequestEntry
	for range n {
		for _, k := range keys {
			in = append(in, types.PutRecordsRequestEntry{PartitionKey: aws.String(k), Data: f.data(k)})
		}
	}
	f.putAll(name, in)
}

func (f *fake) data(key string) []byte {
	f.numbers[key]++
	b, err := json.Marshal(reading{key, f.numbers[key], int64(f.numbers[key]) * 1000})
	require.NoError(f, err)
	return b
}

// putPacked writes aggregates of five records of a key.
func (f *fake) putPacked(name string, n int, keys ...string) {
	f.Helper()
	var in []types.PutRecordsRequestEntry
	for range n {
		for _, k := range keys {
			var a kpl.Aggregate
			for range 5 {
				a.Add(kpl.Record{Key: k, Data: f.data(k)})
			}
			in = append(in, types.PutRecordsRequestEntry{PartitionKey: aws.String(k), Data: a.Bytes()})
		}
	}
	f.putAll(name, in)
}

func (f *fake) putAll(name string, in []types.PutRecordsRequestEntry) {
	f.Helper()
	for len(in) > 0 {
		n := min(len(in), 500)
		out, err := f.client.PutRecords(f.Context(), &api.PutRecordsInput{StreamName: aws.String(name), Records: in[:n]})
		require.NoError(f, err)
		require.Zero(f, *out.FailedRecordCount)
		for _, r := range out.Records {
			f.filled[*r.ShardId] = true
		}
		in = in[n:]
	}
}

// read reads a whole stream: each shard from its beginning, parents first, aggregates taken apart.
func (f *fake) read(name string) (recs []kpl.Record) {
	f.Helper()
	list, err := f.client.ListShards(f.Context(), &api.ListShardsInput{StreamName: aws.String(name)})
	require.NoError(f, err)
	for _, sh := range list.Shards {
		it, err := f.client.GetShardIterator(f.Context(), &api.GetShardIteratorInput{StreamName: aws.String(name), ShardId: sh.ShardId, ShardIteratorType: types.ShardIteratorTypeTrimHorizon})
		require.NoError(f, err)
		for next := it.ShardIterator; next != nil; {
			out, err := f.client.GetRecords(f.Context(), &api.GetRecordsInput{ShardIterator: next}, func(o *api.Options) { o.Retryer = aws.NopRetryer{} })
			if slow := (*types.ProvisionedThroughputExceededException)(nil); errors.As(err, &slow) {
				<-time.After(200 * time.Millisecond) // what the service allows
				continue
			}
			require.NoError(f, err)
			for _, r := range out.Records {
				parts, packed, err := kpl.Decode(r.Data)
				require.NoError(f, err)
				if !packed {
					parts = []kpl.Record{{Key: *r.PartitionKey, Data: r.Data}}
				}
				recs = append(recs, parts...)
			}
			if next = out.NextShardIterator; len(out.Records) == 0 {
				break
			}
		}
	}
	return recs
}

// tally is the state of a key: how many readings it had, and whether each followed the one before.
type tally struct {
	Key         string
	Count, Last int
	Wrong       []string `json:",omitempty"`
}

func (a *tally) add(r reading) {
	if r.N != a.Last+1 {
		a.Wrong = append(a.Wrong, fmt.Sprintf("%d after %d", r.N, a.Last))
	}
	a.Key, a.Last = r.Key, r.N
	a.Count++
}

// tallies is a topology with state per key.
func tallies(opts ...source.Option) *stream.Topology {
	topo := stream.New("readings")
	topo.From(source.Kinesis("in", codec.JSON[reading](), opts...)).KeyBy(func(r reading) string { return r.Key }).
		Fold("tallies", func(a *tally, r reading) { a.add(r) }, codec.JSON[tally]()).
		Changes(func(_ string, a tally) tally { return a }).To(sink.Kinesis("out", codec.JSON[tally]()))
	return topo
}

// results are the last tallies that were written.
func (f *fake) results() map[string]tally {
	f.Helper()
	m := map[string]tally{}
	for _, r := range f.read("out") {
		var a tally
		require.NoError(f, json.Unmarshal(r.Data, &a))
		if a.Count > m[a.Key].Count || len(a.Wrong) > 0 {
			m[a.Key] = a
		}
	}
	return m
}

// expect waits until every record has been counted, once and in order.
func (f *fake) expect(in *instance) {
	f.Helper()
	want := map[string]tally{}
	for k, n := range f.numbers {
		want[k] = tally{k, n, n, nil}
	}
	deadline := time.Now().Add(patience)
	for !maps.EqualFunc(want, f.results(), func(a, b tally) bool { return a.Count == b.Count && a.Last == b.Last && len(b.Wrong) == 0 }) {
		select {
		case <-in.ended:
			require.FailNow(f, "the application ended", "%v\n%s", in.err, in.log.String())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			require.Equal(f, want, f.results(), in.log.String())
		}
	}
}

// instance is a running application.
type instance struct {
	*stream.App
	cancel context.CancelFunc
	ended  chan struct{}
	err    error
	log    *log
}

// log is what the application logs.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// run runs an application until stop or the end of the test.
func (f *fake) run(topo *stream.Topology, dir string, c kinesis.Streams, conf ...func(*stream.Config)) *instance {
	f.Helper()
	in := &instance{log: &log{}, ended: make(chan struct{})}
	cfg := stream.Config{AppID: "test", StateDir: dir, Connect: []connect.Connector{c}, Exchange: stream.InMemory, CommitInterval: 20 * time.Millisecond, Workers: 2,
		Logger: slog.New(slog.NewTextHandler(in.log, nil)), MemoryBudget: 64 << 20}
	for _, change := range conf {
		change(&cfg)
	}
	app, err := topo.Build(cfg)
	require.NoError(f, err)
	in.App = app
	ctx, cancel := context.WithCancel(context.Background())
	in.cancel = cancel
	go func() {
		in.err = app.Run(ctx)
		close(in.ended)
	}()
	f.Cleanup(func() {
		cancel()
		<-in.ended
		if f.Failed() {
			f.Log("log of the application:\n" + in.log.String())
		}
	})
	return in
}

// stop ends the application in good order.
func (in *instance) stop(t *testing.T) {
	t.Helper()
	in.cancel()
	require.NoError(t, in.wait(t))
}

// wait returns what Run returned.
func (in *instance) wait(t *testing.T) error {
	t.Helper()
	select {
	case <-in.ended:
		return in.err
	case <-time.After(patience):
		require.FailNow(t, "the application does not end", in.log.String())
		return nil
	}
}
