package main

import (
	"context"
	"encoding/json/v2"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	cards     = 200
	perSecond = 1000
	backlog   = 20 * time.Second // of payments that wait at the first start
)

// generate writes payments until ctx ends: with a backlog first those of the last seconds, all at once, then as time
// goes by. A tenth of them is declined, all are up to a second out of order, and of the new ones one in two hundred is
// late.
func generate(ctx context.Context, brokers []string, topic string, withBacklog bool) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DisableClientMetrics(), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	if err != nil {
		return fmt.Errorf("generate payments: %w", err)
	}
	defer cl.Close()
	failed := make(chan error, 1)
	produce := func(p Payment) error {
		b, err := json.Marshal(p)
		if err != nil {
			return err
		}
		cl.Produce(ctx, &kgo.Record{Value: b}, func(_ *kgo.Record, err error) {
			if err != nil && ctx.Err() == nil {
				select {
				case failed <- fmt.Errorf("write to %s: %w", topic, err):
				default:
				}
			}
		})
		return nil
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	next := time.Now()
	if withBacklog {
		next = next.Add(-backlog)
	}
	for {
		for ; next.Before(time.Now()); next = next.Add(time.Second / perSecond) {
			if err := produce(payment(next, time.Since(next) < time.Second)); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case err := <-failed:
			return err
		case <-ctx.Done():
			flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			_ = cl.Flush(flush) // what is not written now was never paid
			return nil
		}
	}
}

func payment(now time.Time, maybeLate bool) Payment {
	// A few cards pay much more often than the others.
	card := min(rand.IntN(cards), rand.IntN(cards))
	behind := rand.N(time.Second)
	if maybeLate && rand.IntN(200) == 0 {
		behind = 20*time.Second + rand.N(10*time.Second)
	}
	return Payment{
		Card:     fmt.Sprintf("card-%03d", card),
		Cents:    100 + rand.Int64N(10_000),
		Approved: rand.IntN(10) > 0,
		At:       now.Add(-behind).UTC().Truncate(time.Millisecond),
	}
}
