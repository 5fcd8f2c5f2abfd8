package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

// pollEvery is how often the features are read: of five reads a second that the service allows for a shard, others have some, too.
const pollEvery = 350 * time.Millisecond

const clock = "15:04:05.000"

// view prints what happens, for people. It reads the features as another consumer would, in those shards that the stream has at the
// beginning.
type view struct {
	client *api.Client
	n      names
	out    io.Writer

	began  time.Time
	shards []*string // iterators
	made   int
	ids    map[string]bool
	kinds  map[string]int // features by kind of window
	again  int
	last   map[string]Feature // by kind of window
	delay  time.Duration      // from a payment to its feature
}

func newView(ctx context.Context, client *api.Client, n names, out io.Writer) (*view, error) {
	v := &view{client: client, n: n, out: out, began: time.Now(), ids: map[string]bool{}, kinds: map[string]int{}, last: map[string]Feature{}}
	list, err := client.ListShards(ctx, &api.ListShardsInput{StreamName: aws.String(n.features)})
	if err != nil {
		return nil, fmt.Errorf("list the shards of the stream %s, which must exist, as must %s: %w", n.features, n.payments, err)
	}
	for _, sh := range list.Shards {
		it, err := client.GetShardIterator(ctx, &api.GetShardIteratorInput{StreamName: aws.String(n.features), ShardId: sh.ShardId, ShardIteratorType: types.ShardIteratorTypeLatest})
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", n.features, err)
		}
		v.shards = append(v.shards, it.ShardIterator)
	}
	return v, nil
}

func (v *view) printf(format string, args ...any) { fmt.Fprintf(v.out, format, args...) }

// introduce says what is about to happen.
func (v *view) introduce(o options, p *place) {
	at, state := cmp.Or(o.endpoint, o.region), cmp.Or(o.state, "in a directory that is deleted at the end")
	if p.fake != nil {
		at = "in this process"
	}
	v.printf(`What has each card spent? Features of payments, on Kinesis

  stream %s → approved → by card → stream %s
  for each payment the %v before it, and every %v the last %v

  Kinesis  %s
  state    %s
  ends     after %v, or with Ctrl-C

`, v.n.payments, v.n.features, trailing.Size, hopping.Advance, hopping.Size, at, state, o.length)
}

// poll reads the features that have been written.
func (v *view) poll(ctx context.Context) error {
	for i, it := range v.shards {
		if it == nil {
			continue // it was split or merged: what follows is not shown
		}
		out, err := v.client.GetRecords(ctx, &api.GetRecordsInput{ShardIterator: it})
		if err != nil {
			return fmt.Errorf("read %s: %w", v.n.features, err)
		}
		v.shards[i] = out.NextShardIterator
		for _, r := range out.Records {
			var f Feature
			if err := json.Unmarshal(r.Data, &f); err != nil {
				return fmt.Errorf("read %s: %w", v.n.features, err)
			}
			v.take(f)
		}
	}
	return nil
}

// take counts a feature, once: after a crash it may be written again.
func (v *view) take(f Feature) {
	if v.ids[f.ID] {
		v.again++
		return
	}
	v.ids[f.ID] = true
	v.kinds[f.Window]++
	v.last[f.Window] = f
	v.delay = time.Since(f.End)
}

// tell prints how things stand.
func (v *view) tell() {
	v.printf("%s  %5d payments   %5d trailing windows   %5d hopping windows", time.Now().Format(time.TimeOnly), v.made, v.kinds["trailing"], v.kinds["hopping"])
	if f, ok := v.last["trailing"]; ok {
		v.printf("   %s: %d payments, %s   (%.1f s ago)", f.Card, f.Payments, money(f.Cents), v.delay.Seconds())
	}
	v.printf("\n")
}

// summarize says what was done and how to go on.
func (v *view) summarize(interrupted bool, o options) {
	why, again := "Done", "go run ./examples/kinesis-features"
	if interrupted {
		why = "Stopped"
	}
	v.printf("\n%s after %.1f s.\n", why, time.Since(v.began).Seconds())
	v.printf("  %6d payments written to the stream %s\n", v.made, v.n.payments)
	v.printf("  %6d features of trailing windows and %d of hopping ones read from the stream %s, %d of them again\n", v.kinds["trailing"], v.kinds["hopping"], v.n.features, v.again)
	for _, kind := range []string{"trailing", "hopping"} {
		if f, ok := v.last[kind]; ok {
			v.printf("A %s window: %s of %s from %s until before %s: %d payments, %s, at most %s\n", kind, f.ID, f.Card,
				f.Start.Format(clock), f.End.Format(clock), f.Payments, money(f.Cents), money(f.Largest))
		}
	}
	v.printf("\nGo on\n")
	switch {
	case o.state != "":
		v.printf("  the same command   with the windows that are open now, and from the positions that belong to them, both in %s\n", o.state)
	case o.endpoint != "" || o.region != "":
		v.printf("  -state DIRECTORY   beside the other flags: keeps the windows that are open at the end, and the positions; now they are gone\n")
	default:
		v.printf("  %s   anew: nothing was kept\n", again)
		v.printf("  %s -endpoint http://127.0.0.1:4568 -state DIRECTORY   on your own; create the streams first\n", again)
	}
	v.printf("The application is examples/kinesis-features/topology.go.\n")
}

func money(cents int64) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }
