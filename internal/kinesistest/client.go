package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millstream-go/millstream/connect/kinesis/kpl"
)

// access says where the services are.
type access struct{ kinesisURL, dynamodbURL string }

func (a *access) flags(fs *flag.FlagSet) {
	fs.StringVar(&a.kinesisURL, "kinesis", "", "URL of the Kinesis")
	fs.StringVar(&a.dynamodbURL, "dynamodb", "", "URL of the DynamoDB")
}

func (a access) kinesis() *api.Client {
	return api.New(api.Options{Region: "us-east-1", BaseEndpoint: aws.String(a.kinesisURL), Credentials: credentials.NewStaticCredentialsProvider("any", "any", "")})
}

func (a access) dynamodb() *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{Region: "us-east-1", BaseEndpoint: aws.String(a.dynamodbURL), Credentials: credentials.NewStaticCredentialsProvider("any", "any", "")})
}

// streams are those of a run, as the driver and the checker see them: with a client of their own, that shares nothing with
// the connector.
type streams struct {
	client *api.Client
	prefix string
}

func (s streams) name(stream string) string { return s.prefix + "-" + stream }

// create makes a stream and waits until it can be used.
func (s streams) create(ctx context.Context, stream string, shards int32) error {
	if _, err := s.client.CreateStream(ctx, &api.CreateStreamInput{StreamName: aws.String(s.name(stream)), ShardCount: aws.Int32(shards)}); err != nil {
		return fmt.Errorf("create stream %s: %w", stream, err)
	}
	return s.active(ctx, stream)
}

// active waits while a stream is being changed.
func (s streams) active(ctx context.Context, stream string) error {
	for {
		out, err := s.client.DescribeStreamSummary(ctx, &api.DescribeStreamSummaryInput{StreamName: aws.String(s.name(stream))})
		if err == nil && out.StreamDescriptionSummary.StreamStatus == types.StreamStatusActive {
			return nil
		}
		if wrong := pause(ctx, 20*time.Millisecond); wrong != nil {
			return fmt.Errorf("wait for stream %s: %w", stream, errors.Join(wrong, err))
		}
	}
}

func (s streams) delete(ctx context.Context, stream string) error {
	_, err := s.client.DeleteStream(ctx, &api.DeleteStreamInput{StreamName: aws.String(s.name(stream))})
	return err
}

// shards lists all shards of a stream, parents before children.
func (s streams) shards(ctx context.Context, stream string) (list []types.Shard, err error) {
	in := &api.ListShardsInput{StreamName: aws.String(s.name(stream))}
	for {
		out, err := s.client.ListShards(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("list the shards of %s: %w", stream, err)
		}
		list = append(list, out.Shards...)
		if aws.ToString(out.NextToken) == "" {
			return list, nil
		}
		in = &api.ListShardsInput{NextToken: out.NextToken}
	}
}

func parents(sh types.Shard) (list []string) {
	for _, p := range []*string{sh.ParentShardId, sh.AdjacentParentShardId} {
		if aws.ToString(p) != "" {
			list = append(list, *p)
		}
	}
	return list
}

func open(list []types.Shard) (still []types.Shard) {
	for _, sh := range list {
		if aws.ToString(sh.SequenceNumberRange.EndingSequenceNumber) == "" {
			still = append(still, sh)
		}
	}
	return still
}

// hash reads a hash key that the service has written.
func hash(s *string) *big.Int {
	n, ok := new(big.Int).SetString(aws.ToString(s), 10)
	if !ok {
		return new(big.Int)
	}
	return n
}

// split splits a shard in the middle.
func (s streams) split(ctx context.Context, stream string, sh types.Shard) error {
	middle := hash(sh.HashKeyRange.StartingHashKey)
	middle.Add(middle, hash(sh.HashKeyRange.EndingHashKey)).Rsh(middle, 1).Add(middle, big.NewInt(1))
	_, err := s.client.SplitShard(ctx, &api.SplitShardInput{StreamName: aws.String(s.name(stream)), ShardToSplit: sh.ShardId, NewStartingHashKey: aws.String(middle.String())})
	return err
}

func (s streams) merge(ctx context.Context, stream string, a, b types.Shard) error {
	_, err := s.client.MergeShards(ctx, &api.MergeShardsInput{StreamName: aws.String(s.name(stream)), ShardToMerge: a.ShardId, AdjacentShardToMerge: b.ShardId})
	return err
}

// read is a record that was read.
type read struct {
	shard string
	data  []byte
}

// all reads a whole stream: each shard from its beginning to its present end, parents before children, aggregates taken apart.
func (s streams) all(ctx context.Context, stream string) (recs []read, shards []types.Shard, err error) {
	if shards, err = s.shards(ctx, stream); err != nil {
		return nil, nil, err
	}
	for _, sh := range shards {
		t := &tail{streams: s, stream: stream, shard: aws.ToString(sh.ShardId)}
		for {
			more, behind, err := t.next(ctx)
			if err != nil {
				return nil, nil, err
			}
			recs = append(recs, more...)
			if !behind {
				break
			}
		}
	}
	return recs, shards, nil
}

// tail reads a shard on and on.
type tail struct {
	streams
	stream, shard string
	iterator      *string
	over          bool
}

// next reads what there is, and says whether there is more.
func (t *tail) next(ctx context.Context) (recs []read, more bool, err error) {
	if t.over {
		return nil, false, nil
	}
	if t.iterator == nil {
		it, err := t.client.GetShardIterator(ctx, &api.GetShardIteratorInput{StreamName: aws.String(t.name(t.stream)), ShardId: aws.String(t.shard), ShardIteratorType: types.ShardIteratorTypeTrimHorizon})
		if err != nil {
			return nil, false, fmt.Errorf("read %s: %w", t.stream, err)
		}
		t.iterator = it.ShardIterator
	}
	out, err := t.client.GetRecords(ctx, &api.GetRecordsInput{ShardIterator: t.iterator})
	if err != nil {
		t.iterator = nil // it may have expired
		return nil, false, fmt.Errorf("read %s: %w", t.stream, err)
	}
	for _, r := range out.Records {
		parts, packed, err := kpl.Decode(r.Data)
		if err != nil {
			return nil, false, fmt.Errorf("read %s: %w", t.stream, err)
		}
		if !packed {
			parts = []kpl.Record{{Data: r.Data}}
		}
		for _, p := range parts {
			recs = append(recs, read{t.shard, p.Data})
		}
	}
	t.iterator = out.NextShardIterator
	t.over = aws.ToString(t.iterator) == ""
	return recs, !t.over && (len(out.Records) > 0 || aws.ToInt64(out.MillisBehindLatest) > 0), nil
}

// pause waits, or less if ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
