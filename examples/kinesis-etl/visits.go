package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

// makeVisits writes visits, a tenth of a second of event time apart. Some cannot be used: every 97th is no JSON, every 53rd names no page.
func makeVisits(ctx context.Context, client *api.Client, name string, n int, from time.Time, reshard func() error) error {
	pages := []string{"/", "/shop", "/shop/shoes", "/help", "/about/"}
	agents := []string{"Mozilla/5.0 (X11; Linux x86_64)", "Mozilla/5.0 (iPhone; Mobile)"}
	var batch []types.PutRecordsRequestEntry
	for i := range n {
		v := Visit{ID: fmt.Sprintf("v%06d", i), Email: fmt.Sprintf("Person.%d@example.com", i%200), IP: fmt.Sprintf("192.0.2.%d", i%200), URL: "https://example.com" + pages[i%len(pages)] + "?utm_source=mail",
			Agent: agents[i%3%2], At: from.Add(time.Duration(i) * 100 * time.Millisecond)}
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
		if len(batch) == 100 || i == n-1 {
			if err := putAll(ctx, client, name, batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
		if i == n/2 {
			if err := reshard(); err != nil {
				return fmt.Errorf("split a shard of the visits: %w", err)
			}
		}
	}
	return nil
}

// putAll writes records, and those again that were refused.
func putAll(ctx context.Context, client *api.Client, name string, recs []types.PutRecordsRequestEntry) error {
	for len(recs) > 0 {
		out, err := client.PutRecords(ctx, &api.PutRecordsInput{StreamName: aws.String(name), Records: recs})
		if err != nil {
			return fmt.Errorf("write visits: %w", err)
		}
		var again []types.PutRecordsRequestEntry
		for i, r := range out.Records {
			if r.ErrorCode != nil {
				again = append(again, recs[i])
			}
		}
		recs = again
	}
	return nil
}

// results are what the pipeline has written, read by a consumer of its own.
type results struct {
	client *api.Client
	views  map[string]View // by id: a view may be written twice after a crash
	dead   map[string]string
	pages  []PageViews
	next   []cursor
}

// cursor is how far a shard has been read.
type cursor struct {
	iterator *string
	take     func([]byte) error
}

func newResults(ctx context.Context, client *api.Client, n names) (*results, error) {
	r := &results{client: client, views: map[string]View{}, dead: map[string]string{}}
	for name, take := range map[string]func([]byte) error{n.views: r.view, n.pages: r.page, n.dead: r.letter} {
		list, err := client.ListShards(ctx, &api.ListShardsInput{StreamName: aws.String(name)})
		if err != nil {
			return nil, fmt.Errorf("list the shards of %s: %w", name, err)
		}
		for _, sh := range list.Shards {
			it, err := client.GetShardIterator(ctx, &api.GetShardIteratorInput{StreamName: aws.String(name), ShardId: sh.ShardId, ShardIteratorType: types.ShardIteratorTypeLatest})
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", name, err)
			}
			r.next = append(r.next, cursor{it.ShardIterator, take})
		}
	}
	return r, nil
}

func (r *results) view(b []byte) error {
	var v View
	err := json.Unmarshal(b, &v)
	r.views[v.ID] = v
	return err
}

func (r *results) page(b []byte) error {
	var p PageViews
	err := json.Unmarshal(b, &p)
	r.pages = append(r.pages, p)
	return err
}

// letter reads a dead letter, which names the record by its place.
func (r *results) letter(b []byte) error {
	var l struct{ Reason map[string]string }
	err := json.Unmarshal(b, &l)
	r.dead[l.Reason["partition"]+" "+l.Reason["offset"]] = l.Reason["error"]
	return err
}

// await reads until every visit has become a view or a dead letter.
func (r *results) await(ctx context.Context, visits int, ended <-chan error) error {
	for len(r.views)+len(r.dead) < visits {
		for i := range r.next {
			c := &r.next[i]
			if c.iterator == nil {
				continue
			}
			out, err := r.client.GetRecords(ctx, &api.GetRecordsInput{ShardIterator: c.iterator})
			if err != nil {
				return fmt.Errorf("read results: %w", err)
			}
			c.iterator = out.NextShardIterator
			for _, rec := range out.Records {
				if err := c.take(rec.Data); err != nil {
					return fmt.Errorf("read results: %w", err)
				}
			}
		}
		select {
		case <-time.After(250 * time.Millisecond): // four reads a second of each shard are allowed beside another reader
		case err := <-ended:
			return fmt.Errorf("the application ended before it was done: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("%d views and %d dead letters of %d visits so far: %w", len(r.views), len(r.dead), visits, ctx.Err())
		}
	}
	return nil
}

// summarize prints what has come.
func (r *results) summarize(out io.Writer, took time.Duration) {
	fmt.Fprintf(out, "%d views and %d dead letters in %v; %d pages in minutes that are over\n", len(r.views), len(r.dead), took.Round(time.Millisecond), len(r.pages))
	ids := make([]string, 0, len(r.views))
	for id := range r.views {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids[:min(3, len(ids))] {
		b, _ := json.Marshal(r.views[id])
		fmt.Fprintf(out, "  view         %s\n", b)
	}
	reasons := map[string]int{}
	for _, why := range r.dead {
		reasons[why]++
	}
	for why, n := range reasons {
		if n > 1 {
			fmt.Fprintf(out, "  dead letters %d: %s\n", n, why)
		}
	}
	for _, p := range r.pages[:min(3, len(r.pages))] {
		b, _ := json.Marshal(p)
		fmt.Fprintf(out, "  page         %s\n", b)
	}
}
