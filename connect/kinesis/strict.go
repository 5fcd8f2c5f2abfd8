package kinesis

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

// Write.Strict: PutRecord orders what is written serially to a shard if each record names the sequence number of the one before it
// (https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecord.html). So a shard to which a record is under way is
// passed over, and what the last one got is remembered for each shard. A shard that follows others needs no number of theirs: its own
// are larger.

// putStrictly writes one record.
func (w *writer) putStrictly(ctx context.Context, p *put) ([]types.PutRecordsResultEntry, error) {
	name, arn := address(w.name)
	r := p.record()
	in := &api.PutRecordInput{StreamName: name, StreamARN: arn, PartitionKey: r.PartitionKey, ExplicitHashKey: r.ExplicitHashKey, Data: r.Data}
	w.mu.Lock()
	if n := w.last[p.shard]; n != "" {
		in.SequenceNumberForOrdering = aws.String(n)
	}
	w.mu.Unlock()
	out, err := w.c.Client.PutRecord(ctx, in, once)
	if c := code(err); c == "ProvisionedThroughputExceededException" {
		return []types.PutRecordsResultEntry{{ErrorCode: &c}}, nil
	}
	if err != nil {
		return nil, err
	}
	id, number := aws.ToString(out.ShardId), aws.ToString(out.SequenceNumber)
	now, err := sequence(number)
	if err != nil {
		return nil, fmt.Errorf("answer to a record for shard %s: %w", id, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	// While shards are split and merged, two may be under way to one: to it and to one that it follows.
	if last, err := sequence(w.last[id]); err != nil || last.Compare(now) < 0 {
		w.last[id] = number
	}
	return []types.PutRecordsResultEntry{{ShardId: out.ShardId, SequenceNumber: out.SequenceNumber}}, nil
}

// free lets other records go to the shards of a request.
func (w *writer) free(req *request) {
	if !w.c.Write.Strict {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range req.puts {
		delete(w.taken, p.taken)
	}
	w.signal()
}
