package kinesistest_test

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
)

// clock is wound by hand.
type clock struct{ ms atomic.Int64 }

func (c *clock) now() time.Time       { return time.UnixMilli(c.ms.Load()) }
func (c *clock) pass(d time.Duration) { c.ms.Add(d.Milliseconds()) }

type env struct {
	*testing.T
	*kinesistest.Server
	*kinesis.Client
	clock *clock
}

// start starts a service with a stream "s" of some shards, and the real client of it, which tries nothing twice.
func start(t *testing.T, shards int, o kinesistest.Options) *env {
	c := &clock{}
	c.ms.Store(1_700_000_000_000)
	o.Now = c.now
	s, err := kinesistest.Start(o)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	s.CreateStream("s", shards)
	return &env{t, s, kinesis.New(kinesis.Options{Region: "local", BaseEndpoint: aws.String(s.URL()), RetryMaxAttempts: 1,
		HTTPClient: &http.Client{Transport: ownBody{}}, Credentials: credentials.NewStaticCredentialsProvider("any", "any", "")}), c}
}

func (e *env) put(keys ...string) *kinesis.PutRecordsOutput {
	in := &kinesis.PutRecordsInput{StreamName: aws.String("s")}
	for _, k := range keys {
		in.Records = append(in.Records, types.PutRecordsRequestEntry{PartitionKey: aws.String(k), Data: []byte("data of " + k)})
	}
	out, err := e.PutRecords(e.Context(), in)
	require.NoError(e, err)
	return out
}

func (e *env) iterator(shard string, kind types.ShardIteratorType, f ...func(*kinesis.GetShardIteratorInput)) *string {
	in := &kinesis.GetShardIteratorInput{StreamName: aws.String("s"), ShardId: aws.String(shard), ShardIteratorType: kind}
	for _, f := range f {
		f(in)
	}
	out, err := e.GetShardIterator(e.Context(), in)
	require.NoError(e, err)
	return out.ShardIterator
}

// read reads a shard from an iterator to its end, or to where nothing more is there, and returns the keys.
func (e *env) read(it *string) (keys []string, last *kinesis.GetRecordsOutput) {
	for {
		out, err := e.GetRecords(e.Context(), &kinesis.GetRecordsInput{ShardIterator: it, Limit: aws.Int32(3)})
		require.NoError(e, err)
		for _, r := range out.Records {
			require.Equal(e, "data of "+*r.PartitionKey, string(r.Data))
			keys = append(keys, *r.PartitionKey)
		}
		if out.NextShardIterator == nil || len(out.Records) == 0 {
			return keys, out
		}
		it = out.NextShardIterator
	}
}

func TestPositions(t *testing.T) {
	e := start(t, 1, kinesistest.Options{})
	first := e.put("a", "b")
	e.clock.pass(time.Second)
	middle := e.clock.now()
	e.put("c", "d")
	shard := e.Shards("s")[0]
	keys := func(kind types.ShardIteratorType, f ...func(*kinesis.GetShardIteratorInput)) []string {
		got, last := e.read(e.iterator(shard, kind, f...))
		require.NotNil(t, last.NextShardIterator)
		require.Zero(t, *last.MillisBehindLatest)
		return got
	}
	at := func(seq *string) func(*kinesis.GetShardIteratorInput) {
		return func(in *kinesis.GetShardIteratorInput) { in.StartingSequenceNumber = seq }
	}
	assert.Equal(t, []string{"a", "b", "c", "d"}, keys(types.ShardIteratorTypeTrimHorizon))
	assert.Empty(t, keys(types.ShardIteratorTypeLatest))
	assert.Equal(t, []string{"b", "c", "d"}, keys(types.ShardIteratorTypeAtSequenceNumber, at(first.Records[1].SequenceNumber)))
	assert.Equal(t, []string{"c", "d"}, keys(types.ShardIteratorTypeAfterSequenceNumber, at(first.Records[1].SequenceNumber)))
	assert.Equal(t, []string{"c", "d"}, keys(types.ShardIteratorTypeAtTimestamp, func(in *kinesis.GetShardIteratorInput) { in.Timestamp = &middle }))
	e.clock.pass(700 * time.Millisecond)
	out, err := e.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: e.iterator(shard, types.ShardIteratorTypeTrimHorizon), Limit: aws.Int32(2)})
	require.NoError(t, err)
	assert.EqualValues(t, 700, *out.MillisBehindLatest)
}

// A closed shard is read to its end, which names its children; a merged one has two parents.
func TestReshard(t *testing.T) {
	e := start(t, 2, kinesistest.Options{})
	var keys []string
	for i := range 40 {
		keys = append(keys, fmt.Sprintf("key-%d", i))
	}
	where := map[string]string{}
	for i, r := range e.put(keys...).Records {
		where[keys[i]] = *r.ShardId
	}
	old := e.Shards("s")
	require.NoError(t, e.Split("s", old[0]))
	_, err := e.Client.MergeShards(t.Context(), &kinesis.MergeShardsInput{StreamName: aws.String("s"), ShardToMerge: aws.String(e.Shards("s")[1]), AdjacentShardToMerge: aws.String(old[1])})
	require.NoError(t, err)
	now := e.Shards("s")
	require.Len(t, now, 2)
	e.put(keys...)
	total := 0
	for _, sh := range old {
		got, last := e.read(e.iterator(sh, types.ShardIteratorTypeTrimHorizon))
		for _, k := range got {
			require.Equal(t, where[k], sh)
		}
		total += len(got)
		require.Nil(t, last.NextShardIterator)
		require.NotEmpty(t, last.ChildShards)
	}
	assert.Equal(t, len(keys), total, "all before the change")
	_, last := e.read(e.iterator(old[1], types.ShardIteratorTypeTrimHorizon))
	require.Len(t, last.ChildShards, 1)
	assert.ElementsMatch(t, []string{old[1], "shardId-000000000003"}, last.ChildShards[0].ParentShards)
	for _, sh := range now {
		got, last := e.read(e.iterator(sh, types.ShardIteratorTypeTrimHorizon))
		total += len(got)
		require.NotNil(t, last.NextShardIterator)
	}
	assert.Equal(t, 2*len(keys), total)

	var list []types.Shard
	in := &kinesis.ListShardsInput{StreamName: aws.String("s"), MaxResults: aws.Int32(2)}
	for pages := 0; ; pages++ {
		out, err := e.ListShards(t.Context(), in)
		require.NoError(t, err)
		list = append(list, out.Shards...)
		if in = (&kinesis.ListShardsInput{NextToken: out.NextToken, MaxResults: aws.Int32(2)}); out.NextToken == nil {
			require.Equal(t, 2, pages)
			break
		}
	}
	require.Len(t, list, 5)
	assert.Equal(t, old[0], *list[2].ParentShardId)
	assert.NotNil(t, list[0].SequenceNumberRange.EndingSequenceNumber)
	assert.Equal(t, []string{"shardId-000000000003", old[1]}, []string{*list[4].ParentShardId, *list[4].AdjacentParentShardId})
	assert.Nil(t, list[4].SequenceNumberRange.EndingSequenceNumber)

	for _, n := range []int32{7, 3, 1} {
		_, err := e.UpdateShardCount(t.Context(), &kinesis.UpdateShardCountInput{StreamName: aws.String("s"), TargetShardCount: aws.Int32(n), ScalingType: types.ScalingTypeUniformScaling})
		require.NoError(t, err)
		assert.Len(t, e.Shards("s"), int(n))
		e.put(keys...)
	}
}

func TestLimits(t *testing.T) {
	e := start(t, 1, kinesistest.Options{Limits: true})
	put := func(n, size int) error {
		in := &kinesis.PutRecordsInput{StreamName: aws.String("s")}
		for range n {
			in.Records = append(in.Records, types.PutRecordsRequestEntry{PartitionKey: aws.String("k"), Data: make([]byte, size)})
		}
		_, err := e.PutRecords(t.Context(), in)
		return err
	}
	var invalid *types.InvalidArgumentException
	require.ErrorAs(t, put(501, 1), &invalid)
	require.ErrorAs(t, put(1, 1<<20), &invalid, "the key counts")
	require.NoError(t, put(1, 1<<20-1))
	_, err := e.UpdateMaxRecordSize(t.Context(), &kinesis.UpdateMaxRecordSizeInput{StreamARN: aws.String("arn:aws:kinesis:local:000000000000:stream/s"), MaxRecordSizeInKiB: aws.Int32(10240)})
	require.NoError(t, err)
	require.ErrorAs(t, put(2, 6<<20), &invalid, "of one request")
	e.clock.pass(time.Second)
	out := e.put(make500()...)
	require.Zero(t, *out.FailedRecordCount)
	require.Zero(t, *e.put(make500()...).FailedRecordCount)
	out = e.put("one", "more")
	require.EqualValues(t, 2, *out.FailedRecordCount)
	assert.Equal(t, "ProvisionedThroughputExceededException", *out.Records[0].ErrorCode)
	e.clock.pass(time.Second)
	require.Zero(t, *e.put("one", "more").FailedRecordCount)

	it := e.iterator(e.Shards("s")[0], types.ShardIteratorTypeLatest)
	var slow *types.ProvisionedThroughputExceededException
	for i := range 6 {
		_, err := e.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: it})
		if i < 5 {
			require.NoError(t, err)
		} else {
			require.ErrorAs(t, err, &slow)
		}
	}
	_, err = e.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: it, Limit: aws.Int32(10001)})
	require.ErrorAs(t, err, &invalid)
	e.clock.pass(6 * time.Minute)
	var old *types.ExpiredIteratorException
	_, err = e.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: it})
	require.ErrorAs(t, err, &old)
	var missing *types.ResourceNotFoundException
	_, err = e.GetShardIterator(t.Context(), &kinesis.GetShardIteratorInput{StreamName: aws.String("none"), ShardId: aws.String("x"), ShardIteratorType: types.ShardIteratorTypeLatest})
	require.ErrorAs(t, err, &missing)
}

func make500() (keys []string) {
	for i := range 500 {
		keys = append(keys, fmt.Sprint(i))
	}
	return keys
}

func TestFaults(t *testing.T) {
	e := start(t, 1, kinesistest.Options{})
	shard := e.Shards("s")[0]
	var slow *types.ProvisionedThroughputExceededException
	var old *types.ExpiredIteratorException

	e.Fault(kinesistest.Fault{Action: "PutRecords", After: 1, Refuse: func(i int) bool { return i == 1 }, RefuseCode: "InternalFailure"})
	require.Zero(t, *e.put("a", "b").FailedRecordCount)
	out := e.put("c", "d")
	require.EqualValues(t, 1, *out.FailedRecordCount)
	assert.Equal(t, "InternalFailure", *out.Records[1].ErrorCode)

	e.Fault(kinesistest.Fault{Action: "PutRecords", LoseAnswer: true})
	_, err := e.PutRecords(t.Context(), &kinesis.PutRecordsInput{StreamName: aws.String("s"), Records: []types.PutRecordsRequestEntry{{PartitionKey: aws.String("e"), Data: []byte("data of e")}}})
	require.Error(t, err)

	it := e.iterator(shard, types.ShardIteratorTypeTrimHorizon)
	e.Fault(kinesistest.Fault{Shard: "another", Error: "KMSThrottlingException"})
	e.Fault(kinesistest.Fault{Shard: shard, Times: 2, Error: "ProvisionedThroughputExceededException"})
	e.Fault(kinesistest.Fault{Action: "GetRecords", Error: "ExpiredIteratorException"})
	for range 2 {
		_, err = e.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: it})
		require.ErrorAs(t, err, &slow)
	}
	_, err = e.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: it})
	require.ErrorAs(t, err, &old)
	assert.Equal(t, 1, e.Pending(), "that of another shard")

	keys, _ := e.read(it)
	assert.Equal(t, []string{"a", "b", "c", "e"}, keys, "what was refused is not there, what was not answered is")

	e.Fault(kinesistest.Fault{Action: "GetRecords", Delay: time.Hour})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = e.GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: it})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Equal(t, 3, e.Calls()["PutRecords"])
}
