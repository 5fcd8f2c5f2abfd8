package main

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

// bare is the loop that everybody writes first: a goroutine for each shard, which asks for more and more. It takes no aggregates
// apart, keeps no positions, knows nothing of reshards, and does not stay within the service's limits.
func bare(ctx context.Context, c *api.Client, work func(int64)) error {
	list, err := c.ListShards(ctx, &api.ListShardsInput{StreamName: aws.String(streamName)})
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	errs := make([]error, len(list.Shards))
	for i, sh := range list.Shards {
		running.Go(func() { errs[i] = readShard(ctx, c, sh.ShardId, work) })
	}
	running.Wait()
	return errors.Join(errs...)
}

func readShard(ctx context.Context, c *api.Client, id *string, work func(int64)) error {
	it, err := c.GetShardIterator(ctx, &api.GetShardIteratorInput{StreamName: aws.String(streamName), ShardId: id, ShardIteratorType: types.ShardIteratorTypeTrimHorizon})
	if err != nil {
		return err
	}
	for next := it.ShardIterator; next != nil && ctx.Err() == nil; {
		out, err := c.GetRecords(ctx, &api.GetRecordsInput{ShardIterator: next})
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		for _, r := range out.Records {
			work(int64(binary.BigEndian.Uint64(r.Data)))
		}
		if next = out.NextShardIterator; len(out.Records) == 0 {
			return nil
		}
	}
	return nil
}
