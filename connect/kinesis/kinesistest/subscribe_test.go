package kinesistest_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
)

// fan is a stream "s" with an active consumer.
type fan struct {
	*env
	consumer *string
}

func startFan(e *env) *fan {
	out, err := e.RegisterStreamConsumer(e.Context(), &kinesis.RegisterStreamConsumerInput{StreamARN: aws.String("arn:aws:kinesis:local:000000000000:stream/s"), ConsumerName: aws.String("c")})
	require.NoError(e, err)
	return &fan{e, out.Consumer.ConsumerARN}
}

// fanOut runs a test inside a bubble.
func fanOut(t *testing.T, test func(*fan)) {
	s, err := kinesistest.Start(kinesistest.Options{})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	synctest.Test(t, func(t *testing.T) {
		s.CreateStream("s", 1)
		test(startFan(&env{T: t, Server: s, Client: kinesis.New(kinesis.Options{Region: "local", BaseEndpoint: aws.String(s.URL()), RetryMaxAttempts: 1,
			Credentials: credentials.NewStaticCredentialsProvider("any", "any", ""), HTTPClient: s.HTTPClient()})}))
	})
}

// subscribe uses a client for each stream of events: those of one client share a decoder, without a lock (smithy-go 1.28.9).
func (f *fan) subscribe(shard string, p types.StartingPosition) (*kinesis.SubscribeToShardEventStream, error) {
	out, err := kinesis.New(f.Client.Options()).SubscribeToShard(f.Context(), &kinesis.SubscribeToShardInput{ConsumerARN: f.consumer, ShardId: &shard, StartingPosition: &p})
	if err != nil {
		return nil, err
	}
	return out.GetStream(), nil
}

var horizon = types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon}

// next returns the next event; nil: there is none any more.
func (f *fan) next(s *kinesis.SubscribeToShardEventStream) *types.SubscribeToShardEvent {
	for e := range s.Events() {
		return &e.(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent).Value
	}
	return nil
}

func keysOf(e *types.SubscribeToShardEvent) (keys []string) {
	for _, r := range e.Records {
		keys = append(keys, *r.PartitionKey)
	}
	return keys
}

func TestPush(t *testing.T) {
	fanOut(t, func(f *fan) {
		f.put("a", "b")
		shard := f.Shards("s")[0]
		stream, err := f.subscribe(shard, horizon)
		require.NoError(f, err)
		first := f.next(stream)
		assert.Equal(f, []string{"a", "b"}, keysOf(first))
		assert.Zero(f, *first.MillisBehindLatest)
		begun := time.Now()
		empty := f.next(stream)
		assert.Empty(f, empty.Records)
		assert.Equal(f, 5*time.Second, time.Since(begun), "a sign of life")
		assert.Equal(f, first.ContinuationSequenceNumber, empty.ContinuationSequenceNumber)
		f.put("c")
		c := f.next(stream)
		assert.Equal(f, []string{"c"}, keysOf(c))
		assert.Equal(f, 5*time.Second, time.Since(begun), "at once")
		f.put("d")
		require.NoError(f, f.Split("s", shard))
		assert.Equal(f, []string{"d"}, keysOf(f.next(stream)))
		last := f.next(stream)
		assert.Nil(f, last.ContinuationSequenceNumber)
		require.Len(f, last.ChildShards, 2)
		assert.Equal(f, []string{shard}, last.ChildShards[0].ParentShards)
		assert.Nil(f, f.next(stream))
		require.NoError(f, stream.Err())
		require.NoError(f, stream.Close())

		<-time.After(5 * time.Second)
		again, err := f.subscribe(shard, types.StartingPosition{Type: types.ShardIteratorTypeAfterSequenceNumber, SequenceNumber: first.ContinuationSequenceNumber})
		require.NoError(f, err)
		assert.Equal(f, []string{"c", "d"}, keysOf(f.next(again)))
		require.NoError(f, again.Close())
	})
}

func TestSubscriptions(t *testing.T) {
	fanOut(t, func(f *fan) {
		shard := f.Shards("s")[0]
		begun := time.Now()
		one, err := f.subscribe(shard, horizon)
		require.NoError(f, err)
		require.NotNil(f, f.next(one))
		_, err = f.subscribe(shard, horizon)
		var inUse *types.ResourceInUseException
		require.ErrorAs(f, err, &inUse, "too early")
		<-time.After(6 * time.Second)
		two, err := f.subscribe(shard, horizon)
		require.NoError(f, err)
		require.NotNil(f, f.next(two))
		for f.next(one) != nil { // signs of life that were under way
		}
		require.ErrorAs(f, one.Err(), &inUse, "taken over")
		for f.next(two) != nil {
		}
		require.NoError(f, two.Err())
		assert.Equal(f, 5*time.Minute+6*time.Second, time.Since(begun), "five minutes are over")
		_ = one.Close()
		require.NoError(f, two.Close())

		three, err := f.subscribe(shard, horizon)
		require.NoError(f, err)
		require.NotNil(f, f.next(three))
		_, err = f.DeregisterStreamConsumer(f.Context(), &kinesis.DeregisterStreamConsumerInput{ConsumerARN: f.consumer})
		require.NoError(f, err)
		for f.next(three) != nil {
		}
		require.Error(f, three.Err())
		_ = three.Close()
		var missing *types.ResourceNotFoundException
		_, err = f.subscribe(shard, horizon)
		require.ErrorAs(f, err, &missing)
	})
}

func TestSubscriptionFaults(t *testing.T) {
	fanOut(t, func(f *fan) {
		shard := f.Shards("s")[0]
		f.put("a")
		f.Fault(kinesistest.Fault{Action: "SubscribeToShard", Error: "ResourceInUseException"})
		f.Fault(kinesistest.Fault{Action: "SubscribeToShard", Events: 2, Error: "InternalFailureException"})
		f.Fault(kinesistest.Fault{Action: "SubscribeToShard", Events: 1, Delay: 2 * time.Minute, LoseAnswer: true})
		f.Fault(kinesistest.Fault{Action: "SubscribeToShard", LoseAnswer: true})
		_, err := f.subscribe(shard, horizon)
		var inUse *types.ResourceInUseException
		require.ErrorAs(f, err, &inUse)

		stream, err := f.subscribe(shard, horizon)
		require.NoError(f, err)
		assert.Equal(f, []string{"a"}, keysOf(f.next(stream)))
		assert.Empty(f, f.next(stream).Records)
		assert.Nil(f, f.next(stream))
		var internal *types.InternalFailureException
		require.ErrorAs(f, stream.Err(), &internal)
		_ = stream.Close()

		<-time.After(5 * time.Second)
		begun := time.Now()
		stream, err = f.subscribe(shard, horizon)
		require.NoError(f, err)
		require.NotNil(f, f.next(stream))
		assert.Nil(f, f.next(stream))
		assert.Equal(f, 2*time.Minute, time.Since(begun), "silent, then cut, of which the client says nothing")
		_ = stream.Close()

		_, err = f.subscribe(shard, horizon)
		require.Error(f, err)
		_, err = f.subscribe(shard, horizon)
		require.ErrorAs(f, err, &inUse, "the lost call counts")
		assert.Zero(f, f.Pending())
	})
}

// ownBody sends a copy of a request's body. The SDK closes the body when the answer comes, and net/http, which may have
// sent all of it but not seen its end yet, then closes the connection, with the stream of events on it.
type ownBody struct{}

func (ownBody) RoundTrip(r *http.Request) (*http.Response, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(b))
	return http.DefaultTransport.RoundTrip(r)
}

// The same over a connection.
func TestPushOverHTTP(t *testing.T) {
	e := start(t, 1, kinesistest.Options{Creating: time.Second})
	f := startFan(e)
	describe := func() string {
		out, err := f.DescribeStreamConsumer(t.Context(), &kinesis.DescribeStreamConsumerInput{ConsumerARN: f.consumer})
		require.NoError(t, err)
		return string(out.ConsumerDescription.ConsumerStatus)
	}
	assert.Equal(t, "CREATING", describe())
	shard := f.Shards("s")[0]
	_, err := f.subscribe(shard, horizon)
	var inUse *types.ResourceInUseException
	require.ErrorAs(t, err, &inUse)
	e.clock.pass(time.Second)
	assert.Equal(t, "ACTIVE", describe())
	list, err := f.ListStreamConsumers(t.Context(), &kinesis.ListStreamConsumersInput{StreamARN: aws.String("arn:aws:kinesis:local:000000000000:stream/s")})
	require.NoError(t, err)
	require.Len(t, list.Consumers, 1)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, err := kinesis.New(f.Client.Options()).SubscribeToShard(ctx, &kinesis.SubscribeToShardInput{ConsumerARN: f.consumer, ShardId: &shard, StartingPosition: &horizon})
	require.NoError(t, err)
	stream := out.GetStream()
	require.NotNil(t, f.next(stream))
	for i := range 20 {
		f.put(fmt.Sprint("k", i))
		e := f.next(stream)
		require.NotNil(t, e, "%v", stream.Err())
		assert.Equal(t, []string{fmt.Sprint("k", i)}, keysOf(e))
	}
	cancel()
	_ = stream.Close() // it may say that it was cancelled

	e.Fault(kinesistest.Fault{Action: "SubscribeToShard", Events: 1, LoseAnswer: true})
	e.clock.pass(5 * time.Second)
	out, err = kinesis.New(f.Client.Options()).SubscribeToShard(t.Context(), &kinesis.SubscribeToShardInput{ConsumerARN: f.consumer, ShardId: &shard,
		StartingPosition: &types.StartingPosition{Type: types.ShardIteratorTypeLatest}})
	require.NoError(t, err)
	stream = out.GetStream()
	require.NotNil(t, f.next(stream))
	require.Nil(t, f.next(stream))
	_ = stream.Close()
	for i := range 19 {
		_, err := f.RegisterStreamConsumer(t.Context(), &kinesis.RegisterStreamConsumerInput{StreamARN: aws.String("arn:aws:kinesis:local:000000000000:stream/s"), ConsumerName: aws.String(fmt.Sprint("c", i))})
		require.NoError(t, err)
	}
	_, err = f.RegisterStreamConsumer(t.Context(), &kinesis.RegisterStreamConsumerInput{StreamARN: aws.String("arn:aws:kinesis:local:000000000000:stream/s"), ConsumerName: aws.String("one more")})
	var limit *types.LimitExceededException
	require.ErrorAs(t, err, &limit)
}
