package kinesis_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	api "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// copies writes what it reads.
func copies() *stream.Topology {
	topo := stream.New("copies")
	topo.From(source.Kinesis("in", codec.JSON[reading]())).To(sink.Kinesis("out", codec.JSON[reading]()))
	return topo
}

// arrived waits until every record has been written, and returns how many were written more than once. The first of each must be
// in the order of its key.
func (f *fake) arrived(in *instance) (doubled int) {
	f.Helper()
	for deadline := time.Now().Add(patience); ; {
		last := map[string]int{}
		doubled = 0
		for _, r := range f.read("out") {
			var v reading
			require.NoError(f, json.Unmarshal(r.Data, &v))
			require.Equal(f, r.Key, v.Key)
			if v.N <= last[v.Key] {
				doubled++
				continue
			}
			require.Equal(f, last[v.Key]+1, v.N, "of %s, out of its order", v.Key)
			last[v.Key] = v.N
		}
		whole := true
		for k, n := range f.numbers {
			whole = whole && last[k] == n
		}
		if whole {
			return doubled
		}
		select {
		case <-in.ended:
			require.FailNow(f, "the application ended", "%v", in.err)
		case <-time.After(10 * time.Millisecond):
		}
		require.True(f, time.Now().Before(deadline), "want %v, got %v", f.numbers, last)
	}
}

// Refused records are written again without overtaking, or being overtaken by, others of their key: in whatever way records travel.
func TestOrderUnderRetries(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]kinesis.Write{"plain": {}, "aggregated": {Aggregate: true}, "one call": {Calls: 1}} {
		t.Run(name, func(t *testing.T) {
			f := start(t, kinesistest.Options{})
			f.CreateStream("in", 3)
			f.CreateStream("out", 3)
			w.Linger = time.Millisecond
			c := f.streams()
			c.Write = w
			f.put("in", 20, names(50)...)
			for i := range 20 {
				code := ""
				if i%4 == 3 {
					code = "InternalFailure"
				}
				f.Fault(kinesistest.Fault{Action: "PutRecords", After: i % 3, Refuse: func(n int) bool { return n%3 == i%3 }, RefuseCode: code})
			}
			f.Fault(kinesistest.Fault{Action: "PutRecords", After: 4, Error: "InternalFailure"})
			in := f.run(copies(), t.TempDir(), c)
			require.Zero(t, f.arrived(in))
			if !w.Aggregate { // which takes few calls
				require.Zero(t, f.Pending())
			}
			require.Positive(t, f.events.of(kinesis.Throttled))
			require.Positive(t, f.events.of(kinesis.Retried))
		})
	}
}

// A call whose answer is lost may have been done: its records are written again, and that is told.
func TestLostAnswersOfWriting(t *testing.T) {
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 2)
	f.CreateStream("out", 2)
	f.put("in", 10, names(20)...)
	f.Fault(kinesistest.Fault{Action: "PutRecords", After: 1, Times: 2, LoseAnswer: true})
	in := f.run(copies(), t.TempDir(), f.streams())
	doubled := f.arrived(in)
	require.Positive(t, doubled)
	require.Equal(t, f.events.of(kinesis.MaybeDoubled), doubled)
}

// The stream that is written is split and merged. Aggregates that were made for a shard which has gone are written again;
// a reader that drops what is in the wrong shard then finds each record once.
func TestWritesAcrossReshards(t *testing.T) {
	t.Parallel()
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 2)
	f.CreateStream("mid", 1)
	f.CreateStream("out", 1)
	c := f.streams()
	c.Write.Aggregate = true
	c.DropForeign = true
	writes := stream.New("writes")
	writes.From(source.Kinesis("in", codec.JSON[reading]())).To(sink.Kinesis("mid", codec.JSON[reading]()))
	f.run(writes, t.TempDir(), c)
	reads := stream.New("reads")
	reads.From(source.Kinesis("mid", codec.JSON[reading]())).KeyBy(func(r reading) string { return r.Key }).
		Fold("tallies", func(a *tally, r reading) { a.add(r) }, codec.JSON[tally]()).
		Changes(func(_ string, a tally) tally { return a }).To(sink.Kinesis("out", codec.JSON[tally]()))
	out := f.run(reads, t.TempDir(), c)
	keys := names(40)
	for round := range 5 {
		f.put("in", 20, keys...)
		open := f.Shards("mid")
		require.NoError(t, f.Split("mid", open[round%len(open)]))
		f.put("in", 20, keys...)
		f.expect(out)
		if open = f.Shards("mid"); round == 3 {
			require.NoError(t, f.Merge("mid", open[0], open[1]))
		}
	}
	f.put("in", 5, keys...)
	f.expect(out)
	require.Positive(t, f.events.of(kinesis.WrittenAgain))
	require.Equal(t, f.events.of(kinesis.WrittenAgain), f.events.of(kinesis.Foreign))
}

// An aggregate arrives in the shard that two were merged into, and that is split before the writer lists the shards: it was in its
// right place, and is not written again.
func TestArrivedInAShardThatWasClosedSince(t *testing.T) {
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 2)
	f.CreateStream("out", 2)
	var merged atomic.Bool
	c := f.streams()
	c.Write.Aggregate = true
	o := f.client.Options()
	o.HTTPClient = before{o.HTTPClient, func(r *http.Request) {
		b, err := io.ReadAll(r.Body)
		require.NoError(f, err)
		r.Body = io.NopCloser(bytes.NewReader(b))
		if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".ListShards") && strings.Contains(string(b), `"out"`) && merged.CompareAndSwap(true, false) {
			require.NoError(f, f.Split("out", f.Shards("out")[0]))
		}
	}}
	c.Client = api.New(o)
	f.put("in", 5, names(40)...)
	in := f.run(copies(), t.TempDir(), c)
	require.Zero(t, f.arrived(in))
	open := f.Shards("out")
	require.NoError(t, f.Merge("out", open[0], open[1]))
	merged.Store(true)
	f.put("in", 5, names(40)...)
	require.Zero(t, f.arrived(in))
	require.Zero(t, f.events.of(kinesis.WrittenAgain))
	require.Len(t, f.Shards("out"), 2)
}

// before does something before each request is sent.
type before struct {
	api.HTTPClient
	look func(*http.Request)
}

func (b before) Do(r *http.Request) (*http.Response, error) {
	b.look(r)
	return b.HTTPClient.Do(r)
}

// A shard's limits are kept: what is more than its share waits here instead of being refused there.
func TestKeepsTheLimits(t *testing.T) {
	f := start(t, kinesistest.Options{Limits: true})
	f.CreateStream("in", 8)
	f.CreateStream("out", 2)
	f.put("in", 60, names(50)...)
	c := f.streams()
	c.CallsPerSecond = 5
	in := f.run(copies(), t.TempDir(), c)
	require.Zero(t, f.arrived(in))
	require.Less(t, f.events.of(kinesis.Throttled), 300, "of 3000 records")
}

// What a person has to mend ends the application at once, with the reason.
func TestFatalErrors(t *testing.T) {
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 1)
	in := f.run(copies(), t.TempDir(), f.streams())
	err := in.wait(t)
	require.ErrorIs(t, err, connect.ErrStop)
	require.ErrorContains(t, err, "describe stream out: there is no such stream")

	f.CreateStream("out", 1)
	f.put("in", 1, "a")
	f.Fault(kinesistest.Fault{Action: "PutRecords", Error: "KMSDisabledException"})
	err = f.run(copies(), t.TempDir(), f.streams()).wait(t)
	require.ErrorIs(t, err, connect.ErrStop)
	require.ErrorContains(t, err, "write to stream out: put records: the stream's KMS key is disabled")

	f.Fault(kinesistest.Fault{Action: "GetRecords", Error: "AccessDeniedException"})
	err = f.run(copies(), t.TempDir(), f.streams()).wait(t)
	require.ErrorIs(t, err, connect.ErrStop)
	require.ErrorContains(t, err, "read shard shardId-000000000000 of stream in: get records: the credentials lack a right")
}

// A dead letter says why and whence, since there are no headers.
func TestDeadLetters(t *testing.T) {
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 1)
	f.CreateStream("out", 1)
	f.CreateStream("dead", 1)
	f.put("in", 2, "a")
	topo := stream.New("copies")
	topo.From(source.Kinesis("in", codec.JSON[reading](), source.OnError(onerror.DeadLetter("dead")))).TryMap(func(r reading) (reading, error) {
		if r.N == 2 {
			return r, errors.New("two is too many")
		}
		return r, nil
	}).To(sink.Kinesis("out", codec.JSON[reading]()))
	f.run(topo, t.TempDir(), f.streams())
	require.Eventually(t, func() bool { return len(f.read("dead")) == 1 }, patience, time.Millisecond)
	var letter struct {
		Reason     map[string]string
		Key, Value []byte
	}
	dead := f.read("dead")[0]
	require.NoError(t, json.Unmarshal(dead.Data, &letter), string(dead.Data))
	require.Equal(t, "two is too many", letter.Reason["error"])
	require.Equal(t, "in", letter.Reason["topic"])
	require.Equal(t, "a", string(letter.Key))
	require.JSONEq(t, `{"Key":"a","N":2,"At":2000}`, string(letter.Value))
}

func TestRefusesWhatIsNotBuilt(t *testing.T) {
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 1)
	f.CreateStream("out", 1)
	for says, change := range map[string]func(*stream.Config){
		"set Config.Exchange to stream.InMemory": func(c *stream.Config) { c.Exchange = stream.ThroughTopic },
		"at-most-once is not built":              func(c *stream.Config) { c.Guarantee = connect.AtMostOnce },
	} {
		err := f.run(tallies(), t.TempDir(), f.streams(), change).wait(t)
		require.ErrorIs(t, err, connect.ErrStop)
		require.ErrorContains(t, err, says)
	}
	err := f.run(tallies(source.EndAtNow()), t.TempDir(), f.streams()).wait(t)
	require.ErrorContains(t, err, "Kinesis sources have none")
	require.NotEmpty(t, kinesis.Streams{}.Check())
	require.Len(t, kinesis.Streams{Client: f.client, Tasks: -1, PollEvery: -1, Write: kinesis.Write{Share: 2}}.Check(), 3, fmt.Sprint(kinesis.Streams{Client: f.client, Tasks: -1}.Check()))
}

// A service that is out of reach is told of, and the application goes on once it is there.
func TestOutage(t *testing.T) {
	t.Parallel()
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 1)
	f.CreateStream("out", 1)
	f.put("in", 2, "a")
	f.Fault(kinesistest.Fault{Times: 8, Error: "InternalFailure"})
	in := f.run(copies(), t.TempDir(), f.streams())
	require.Eventually(t, func() bool { return f.Pending() == 0 }, patience, time.Millisecond)
	require.Zero(t, f.arrived(in))
	require.Contains(t, in.log.String(), "Kinesis does not do what it is asked; trying again")
}

// State is spread over a number of tasks that must stay.
func TestTasksStay(t *testing.T) {
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 1)
	f.CreateStream("out", 1)
	dir := t.TempDir()
	f.put("in", 3, names(20)...)
	in := f.run(tallies(), dir, f.streams())
	f.expect(in)
	in.stop(t)
	c := f.streams()
	c.Tasks = 5
	require.ErrorContains(t, f.run(tallies(), dir, c).wait(t), "state is laid out for another number of tasks: it has 4, the configuration says 5")
}
