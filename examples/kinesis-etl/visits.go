package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

var (
	pages  = []string{"/", "/shop", "/shop/shoes", "/help", "/about/"}
	agents = []string{"Mozilla/5.0 (X11; Linux x86_64)", "Mozilla/5.0 (iPhone; Mobile)"}
)

// makeVisits writes n visits of a run, from number first on. Some cannot be used: every 97th is no JSON, every 53rd names no page.
func makeVisits(ctx context.Context, client *api.Client, stream, run string, first, n int) error {
	batch := make([]types.PutRecordsRequestEntry, 0, n)
	for i := first; i < first+n; i++ {
		v := Visit{ID: fmt.Sprintf("%s-%06d", run, i), Email: fmt.Sprintf("Person.%d@example.com", i%200), IP: fmt.Sprintf("192.0.2.%d", i%200),
			URL: "https://example.com" + pages[i%len(pages)] + "?utm_source=mail", Agent: agents[i%3%2], At: time.Now().UTC()}
		if i%53 == 52 {
			v.URL = "https://example.com"
		}
		data, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if i%97 == 96 {
			data = data[:len(data)/2]
		}
		batch = append(batch, types.PutRecordsRequestEntry{PartitionKey: aws.String(v.ID), Data: data})
	}
	// What has been begun is ended, so that it is known which visits there are.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	for len(batch) > 0 {
		out, err := client.PutRecords(ctx, &api.PutRecordsInput{StreamName: aws.String(stream), Records: batch})
		if err != nil {
			return fmt.Errorf("write visits to %s: %w", stream, err)
		}
		var refused []types.PutRecordsRequestEntry
		for i, r := range out.Records {
			if r.ErrorCode != nil {
				refused = append(refused, batch[i])
			}
		}
		batch = refused
	}
	return nil
}
