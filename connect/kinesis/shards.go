package kinesis

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kinesis/kpl"
	"github.com/millstream-go/millstream/source"
)

// address splits what the topology calls a stream into the two fields of requests.
func address(stream string) (name, arn *string) {
	if strings.HasPrefix(stream, "arn:") {
		return nil, aws.String(stream)
	}
	return aws.String(stream), nil
}

// index is the number in a shard's id, by which the engine knows it.
func index(shard string) (int32, error) {
	_, digits, _ := strings.Cut(shard, "-")
	n, err := strconv.ParseInt(digits, 10, 32)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("shard id %q does not end with a number", shard)
	}
	return int32(n), nil
}

func (id ShardID) partition() source.Partition {
	n, _ := index(id.Shard) // list has checked it
	return source.Partition{Stream: id.Stream, Index: n}
}

// description is what the connector must know of a stream.
type description struct {
	arn       string
	maxRecord int  // bytes, its key included
	scattered bool // the service distributes records itself, whatever their keys
}

// describe verifies that a stream exists, and describes it.
func (s *Streams) describe(ctx context.Context, stream string) (d description, err error) {
	name, arn := address(stream)
	out, err := call(ctx, s, "describe stream "+stream, stream, "", func(ctx context.Context) (*api.DescribeStreamSummaryOutput, error) {
		return s.Client.DescribeStreamSummary(ctx, &api.DescribeStreamSummaryInput{StreamName: name, StreamARN: arn}, once)
	})
	if err != nil {
		return d, err
	}
	sum := out.StreamDescriptionSummary
	if sum.StreamStatus == types.StreamStatusDeleting {
		return d, fmt.Errorf("stream %s is being deleted: %w", stream, connect.ErrStop)
	}
	d = description{arn: aws.ToString(sum.StreamARN), maxRecord: 1 << 20, scattered: sum.RecordDistributionStrategy == types.RecordDistributionStrategyAuto}
	if sum.MaxRecordSizeInKiB != nil {
		d.maxRecord = int(*sum.MaxRecordSizeInKiB) << 10
	}
	return d, nil
}

// list lists all shards of a stream that it has not forgotten, page by page.
func (s *Streams) list(ctx context.Context, stream string) (shards []Shard, err error) {
	name, arn := address(stream)
	in := &api.ListShardsInput{StreamName: name, StreamARN: arn}
	for {
		out, err := call(ctx, s, "list the shards of stream "+stream, stream, "", func(ctx context.Context) (*api.ListShardsOutput, error) {
			return s.Client.ListShards(ctx, in, once)
		})
		if err != nil {
			return nil, err
		}
		for _, d := range out.Shards {
			sh, err := shardOf(stream, d)
			if err != nil {
				return nil, fmt.Errorf("list the shards of stream %s: %w", stream, err)
			}
			shards = append(shards, sh)
		}
		if aws.ToString(out.NextToken) == "" {
			return shards, nil
		}
		in = &api.ListShardsInput{NextToken: out.NextToken}
		if arn != nil {
			in.StreamARN = arn
		}
	}
}

func shardOf(stream string, d types.Shard) (Shard, error) {
	sh := Shard{ShardID: ShardID{stream, aws.ToString(d.ShardId)}}
	if _, err := index(sh.Shard); err != nil {
		return sh, err
	}
	for _, p := range []*string{d.ParentShardId, d.AdjacentParentShardId} {
		if aws.ToString(p) != "" {
			sh.Parents = append(sh.Parents, *p)
		}
	}
	if d.SequenceNumberRange != nil {
		sh.Closed = aws.ToString(d.SequenceNumberRange.EndingSequenceNumber) != ""
	}
	if d.HashKeyRange == nil {
		return sh, fmt.Errorf("shard %s has no range of hash keys", sh.Shard)
	}
	var err error
	if sh.Hashes, err = hashes(d.HashKeyRange.StartingHashKey, d.HashKeyRange.EndingHashKey); err != nil {
		return sh, fmt.Errorf("shard %s: %w", sh.Shard, err)
	}
	return sh, nil
}

func hashes(start, end *string) (r kpl.Range, err error) {
	if r.Start, err = kpl.ParseHash(aws.ToString(start)); err != nil {
		return r, err
	}
	r.End, err = kpl.ParseHash(aws.ToString(end))
	return r, err
}
