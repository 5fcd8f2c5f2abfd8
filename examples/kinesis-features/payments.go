package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

const (
	cards = 50
	batch = 20 // payments at a time
)

// makePayments writes a batch of payments, and says how many of them are written. A tenth is declined, and all are up to 300 ms out of order.
func makePayments(ctx context.Context, client *api.Client, stream string) (written int, err error) {
	now := time.Now().UTC()
	list := make([]types.PutRecordsRequestEntry, batch)
	for i := range list {
		// A few cards pay much more often than the others.
		p := Payment{Card: fmt.Sprintf("card-%03d", min(rand.IntN(cards), rand.IntN(cards))), Cents: 100 + rand.Int64N(10_000),
			Approved: rand.IntN(10) > 0, At: now.Add(-rand.N(300 * time.Millisecond)).Truncate(time.Millisecond)}
		data, err := json.Marshal(p)
		if err != nil {
			return 0, err
		}
		list[i] = types.PutRecordsRequestEntry{PartitionKey: aws.String(p.Card), Data: data}
	}
	// What has been begun is ended, so that it is known how many there are.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	out, err := client.PutRecords(ctx, &api.PutRecordsInput{StreamName: aws.String(stream), Records: list})
	if err != nil {
		return 0, fmt.Errorf("write payments to %s: %w", stream, err)
	}
	return batch - int(aws.ToInt32(out.FailedRecordCount)), nil // what is refused was never paid
}
