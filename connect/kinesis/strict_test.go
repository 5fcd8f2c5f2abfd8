package kinesis_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
	"github.com/millstream-go/millstream/connect/kinesis/kpl"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// serial checks that each PutRecord names the record before it in its shard, so that two are never under way to one.
type serial struct {
	api.HTTPClient
	t *testing.T

	mu    sync.Mutex
	last  map[string]string // by shard
	named int
}

func (s *serial) Do(r *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".PutRecord") {
		return s.HTTPClient.Do(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	res, err := s.HTTPClient.Do(r)
	if err != nil || res.StatusCode != http.StatusOK {
		return res, err
	}
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(answer))
	var in struct{ SequenceNumberForOrdering string }
	var out struct{ ShardId, SequenceNumber string }
	if err := errors.Join(json.Unmarshal(body, &in), json.Unmarshal(answer, &out)); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := s.last[out.ShardId]; last != in.SequenceNumberForOrdering {
		s.t.Errorf("a record for %s names %q, and the one before it has %q", out.ShardId, in.SequenceNumberForOrdering, last)
	}
	if in.SequenceNumberForOrdering != "" {
		s.named++
	}
	s.last[out.ShardId] = out.SequenceNumber
	return res, nil
}

func (f *fake) strictly(w kinesis.Write) (kinesis.Streams, *serial) {
	c, o := f.streams(), f.client.Options()
	s := &serial{HTTPClient: o.HTTPClient, t: f.T, last: map[string]string{}}
	o.HTTPClient = s
	c.Client = api.New(o)
	w.Strict, w.Linger, w.Calls = true, time.Millisecond, 6
	c.Write = w
	return c, s
}

// Strictly, every record goes alone, after the one before it in its shard, which it names.
func TestStrictOrder(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]kinesis.Write{"plain": {}, "aggregated": {Aggregate: true}} {
		t.Run(name, func(t *testing.T) {
			f := start(t, kinesistest.Options{})
			f.CreateStream("in", 3)
			f.CreateStream("out", 3)
			keys := names(20)
			f.put("in", 10, keys...)
			puts := func() int { return f.Calls()["PutRecords"] } // of the test's own
			before := puts()
			for i, bad := range []string{"ProvisionedThroughputExceededException", "InternalFailure", "ProvisionedThroughputExceededException"} {
				f.Fault(kinesistest.Fault{Action: "PutRecord", After: 2 + i, Error: bad})
			}
			c, s := f.strictly(w)
			in := f.run(copies(), t.TempDir(), c)
			require.Zero(t, f.arrived(in))
			require.Equal(t, before, puts())
			f.put("in", 10, keys...)
			require.Zero(t, f.arrived(in))
			require.Zero(t, f.Pending())
			require.Positive(t, f.events.of(kinesis.Throttled))
			s.mu.Lock()
			defer s.mu.Unlock()
			require.Len(t, s.last, 3)
			require.Positive(t, s.named)
		})
	}
}

// A lost answer, and shards that are split and merged, change no key's order.
func TestStrictOrderAcrossReshards(t *testing.T) {
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 3)
	f.CreateStream("out", 2)
	keys := names(20)
	c := f.streams()
	c.Write.Strict, c.Write.Calls = true, 6
	f.Fault(kinesistest.Fault{Action: "PutRecord", After: 5, LoseAnswer: true})
	in := f.run(copies(), t.TempDir(), c)
	for round := range 3 {
		f.put("in", 5, keys...)
		open := f.Shards("out")
		require.NoError(t, f.Split("out", open[round%len(open)]))
		f.put("in", 5, keys...)
		open = f.Shards("out")
		require.NoError(t, f.Merge("out", open[0], open[1]))
	}
	doubled := f.arrived(in)
	require.Equal(t, f.events.of(kinesis.MaybeDoubled), doubled)
	require.Positive(t, doubled)
}

// Streams whose records the service distributes itself: it is said that keys have no order, and nothing is dropped for being
// in another shard than its key's, nor packed for one.
func TestScatteredStreams(t *testing.T) {
	f := start(t, kinesistest.Options{})
	for _, name := range []string{"in", "out"} {
		f.CreateStream(name, 3)
		d, err := f.client.DescribeStreamSummary(t.Context(), &api.DescribeStreamSummaryInput{StreamName: &name})
		require.NoError(t, err)
		_, err = f.client.UpdateStreamRecordDistributionStrategy(t.Context(), &api.UpdateStreamRecordDistributionStrategyInput{StreamARN: d.StreamDescriptionSummary.StreamARN, RecordDistributionStrategy: "AUTO"})
		require.NoError(t, err)
	}
	c := f.streams()
	c.DropForeign, c.Write.Aggregate = true, true
	keys := names(20)
	f.put("in", 5, keys...)
	f.putPacked("in", 2, keys...)
	topo := stream.New("copies")
	topo.From(source.Kinesis("in", codec.JSON[reading]())).To(sink.Kinesis("out", codec.JSON[reading]()))
	in := f.run(topo, t.TempDir(), c)
	type one struct {
		key string
		n   int
	}
	var seen map[one]int
	reads := 0
	require.Eventually(t, func() bool {
		reads++
		seen = map[one]int{}
		for _, r := range f.read("out") {
			var v reading
			require.NoError(t, json.Unmarshal(r.Data, &v))
			seen[one{v.Key, v.N}]++
		}
		return len(seen) == 15*len(keys)
	}, patience, 5*time.Millisecond)
	for r, n := range seen {
		require.Equal(t, 1, n, "%v", r)
	}
	require.Zero(t, f.events.of(kinesis.Foreign)+f.events.of(kinesis.WrittenAgain))
	require.Contains(t, in.log.String(), "records of a key have no order\" stream=in")
	require.Contains(t, in.log.String(), "Write.Unordered is quicker and loses nothing\" stream=out")
	require.Equal(t, 1, f.Calls()["ListShards"]-reads, "of the source, at the start; where records have come does not tell anything")
	out, err := f.client.ListShards(t.Context(), &api.ListShardsInput{StreamName: aws.String("out")})
	require.NoError(t, err)
	for _, sh := range out.Shards {
		it, err := f.client.GetShardIterator(t.Context(), &api.GetShardIteratorInput{StreamName: aws.String("out"), ShardId: sh.ShardId, ShardIteratorType: "TRIM_HORIZON"})
		require.NoError(t, err)
		got, err := f.client.GetRecords(t.Context(), &api.GetRecordsInput{ShardIterator: it.ShardIterator})
		require.NoError(t, err)
		require.NotEmpty(t, got.Records)
		for _, r := range got.Records {
			_, packed, err := kpl.Decode(r.Data)
			require.NoError(t, err)
			require.False(t, packed)
		}
	}
}
