package kinesis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/source"
)

// Enhanced fan-out: the service pushes a shard's records over a connection that it ends after five minutes, and then has to be
// called again. A shard may be called for once in five seconds. Events come every five seconds at least, so silence is a
// connection that is broken.

const (
	subscribeEvery = 5 * time.Second
	silence        = 20 * time.Second
	maxEvent       = 2 << 20 // bytes of an event: what a shard gives in a second
	fallBackAfter  = 8       // calls in a row that have brought nothing
)

// consumer finds the consumer of a stream, or registers it, waits until it is active, and returns its ARN. It stays
// registered: that is what its name is for.
func (s *Streams) consumer(ctx context.Context, stream, streamARN string) (string, error) {
	what := fmt.Sprintf("find consumer %s of stream %s", s.FanOut, stream)
	for tries := 0; ; tries++ {
		out, err := s.Client.DescribeStreamConsumer(ctx, &api.DescribeStreamConsumerInput{StreamARN: &streamARN, ConsumerName: &s.FanOut}, once)
		switch {
		case err == nil && out.ConsumerDescription.ConsumerStatus == types.ConsumerStatusActive:
			return aws.ToString(out.ConsumerDescription.ConsumerARN), nil
		case err == nil: // it is being made, or deleted
		case code(err) == "ResourceNotFoundException":
			_, err = s.Client.RegisterStreamConsumer(ctx, &api.RegisterStreamConsumerInput{StreamARN: &streamARN, ConsumerName: &s.FanOut}, once)
			if code(err) == "ResourceInUseException" { // another instance was quicker
				err = nil
			}
			what = fmt.Sprintf("register consumer %s of stream %s", s.FanOut, stream)
		}
		if err != nil {
			if e := fatal(what, err); e != nil {
				return "", e
			}
			s.tell(err, stream, "")
		}
		sleep(ctx, jitter(tries))
		if ctx.Err() != nil {
			return "", errors.Join(fmt.Errorf("%s: it is not active: %w", what, ctx.Err()), err)
		}
	}
}

// pushed reads the shard as it is pushed until it ends. done is false where polling is to go on instead.
func (r *reader) pushed(consumer string) (done bool, err error) {
	// The events of one client share a decoder, without a lock (smithy-go 1.28.9).
	client, c := api.New(r.s.c.Client.Options()), &r.s.c
	for tries := 0; r.ctx.Err() == nil; tries++ {
		if tries == fallBackAfter {
			r.s.log.Warn("a shard is not pushed; it is polled instead", "stream", r.o.id.Stream, "shard", r.o.id.Shard, "tries", tries, "err", err)
			c.Observe(Event{What: FellBack, Stream: r.o.id.Stream, Shard: r.o.id.Shard, N: 1, Err: err})
			return false, nil
		}
		begun, events, over := time.Now(), 0, false
		events, over, err = r.subscription(client, consumer)
		if over {
			return true, r.finish()
		}
		if events > 0 {
			tries = 0
		}
		if r.ctx.Err() != nil {
			break
		}
		if e := fatal("subscribe", err); e != nil && code(err) != "ResourceNotFoundException" { // a consumer that was deleted: polling does without
			return true, e
		}
		if errors.Is(err, connect.ErrDeleted) || errors.Is(err, connect.ErrStop) {
			return true, err
		}
		c.Observe(Event{What: Resubscribed, Stream: r.o.id.Stream, Shard: r.o.id.Shard, N: 1, Err: err})
		sleep(r.ctx, max(c.subscribeEvery-time.Since(begun), 0)+jitter(tries))
	}
	return true, nil
}

// subscription calls for the shard and takes events until the connection ends, by whoever's doing. It returns how many
// there were, and whether the shard is over.
func (r *reader) subscription(client *api.Client, consumer string) (events int, over bool, err error) {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	watchdog := time.AfterFunc(r.s.c.CallTimeout, cancel)
	defer watchdog.Stop()
	out, err := client.SubscribeToShard(ctx, &api.SubscribeToShardInput{ConsumerARN: &consumer, ShardId: aws.String(r.o.id.Shard), StartingPosition: r.startingPosition()}, once)
	if err != nil {
		return 0, false, fmt.Errorf("subscribe: %w", err)
	}
	stream := out.GetStream()
	defer stream.Close()
	r.latest = false // what comes from now on is found by its time, if this connection does not bring it
	for {
		watchdog.Reset(r.s.c.silence)
		e, more := <-stream.Events()
		watchdog.Stop()
		if !more {
			return events, false, errors.Join(stream.Err(), context.Cause(ctx))
		}
		event, ok := e.(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent)
		if !ok {
			continue
		}
		events++
		if over, err = r.take(&event.Value); over || err != nil {
			return events, over, err
		}
	}
}

// take delivers an event, once there is room for it. Until then nothing more is read of the connection.
func (r *reader) take(e *types.SubscribeToShardEvent) (over bool, err error) {
	reserved := r.s.reserve(r.ctx, r.o, maxEvent)
	if reserved == 0 {
		return false, nil
	}
	defer r.s.unreserve(reserved)
	over = aws.ToString(e.ContinuationSequenceNumber) == ""
	behind := time.Duration(aws.ToInt64(e.MillisBehindLatest)) * time.Millisecond
	bytes, err := r.deliver(e.Records, behind, over)
	r.s.count(r.o.id, bytes)
	if errors.Is(err, errAhead) { // the connection ends, and the next one begins there
		r.continuation = ""
		return over, err
	}
	if err != nil {
		return false, err
	}
	r.continuation = aws.ToString(e.ContinuationSequenceNumber)
	return over, nil
}

// startingPosition is where a subscription begins: where the last one ended. A record that was read comes once more, and is
// not handed on again.
func (r *reader) startingPosition() *types.StartingPosition {
	switch at := r.from(); {
	case r.continuation != "":
		return &types.StartingPosition{Type: types.ShardIteratorTypeAtSequenceNumber, SequenceNumber: &r.continuation}
	case r.latest:
		return &types.StartingPosition{Type: types.ShardIteratorTypeLatest}
	case at == source.Position{}:
		return &types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon}
	case begins(at):
		return &types.StartingPosition{Type: types.ShardIteratorTypeAtTimestamp, Timestamp: aws.Time(time.UnixMilli(int64(at.Low)))}
	default:
		return &types.StartingPosition{Type: types.ShardIteratorTypeAtSequenceNumber, SequenceNumber: aws.String(number(at))}
	}
}
