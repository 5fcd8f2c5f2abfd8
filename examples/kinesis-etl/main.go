// Kinesis-etl takes visits of web pages from a Kinesis stream to Kafka, in one process and some seconds: it parses them, drops
// what is personal, takes out of the rest what is asked of it later, and writes views to a topic, by page; what it cannot
// use goes to another, with the reason. Each visit ends up in exactly one of them, once. Half-way a shard is split.
//
// Kinesis and Kafka are inside the process, unless flags name real ones: -endpoint a Kinesis, or -region alone AWS's own, and
// -brokers a Kafka. Credentials for AWS are those of AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN. On real ones the stream
// <prefix>visits and the topics <prefix>views and <prefix>dead must exist; nothing but the topic of the application's positions is created there.
//
// topology.go has the application, place.go Kinesis and Kafka, visits.go makes visits, view.go prints what comes out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kafka"
	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/stream"
)

type options struct {
	endpoint, region, brokers, prefix string
	visits                            int
	limit                             time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.endpoint, "endpoint", "", "URL of a real Kinesis, instead of the one in this process")
	flag.StringVar(&o.region, "region", "", "region of a real Kinesis")
	flag.StringVar(&o.brokers, "brokers", "", "addresses of a real Kafka, with commas, instead of the one in this process")
	flag.StringVar(&o.prefix, "prefix", "etl-", "what the names of the stream and the topics begin with")
	flag.IntVar(&o.visits, "visits", 6000, "how many visits are made, a thousand a second")
	flag.DurationVar(&o.limit, "for", time.Minute, "how long to run at most")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "kinesis-etl:", err)
		os.Exit(1)
	}
}

// run runs the pipeline until all visits have come through, or ctx ends.
func run(ctx context.Context, o options, out io.Writer) (err error) {
	n := namesOf(o.prefix)
	p, err := open(o, n)
	if err != nil {
		return err
	}
	defer p.close()
	// The application wants a directory, and keeps nothing in it that is needed: positions are in Kafka, beside the results.
	dir, err := os.MkdirTemp("", "kinesis-etl")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	app, err := topology(n, []byte("a secret that only this application knows")).Build(stream.Config{
		AppID:    n.app,
		StateDir: dir,
		Connect:  []connect.Connector{kinesis.Streams{Client: p.client, PollEvery: 250 * time.Millisecond}, kafka.Cluster{Brokers: p.brokers}},
	})
	if err != nil {
		return err
	}
	v, err := newView(ctx, p.brokers, n, out)
	if err != nil {
		return err
	}
	defer v.close()
	v.introduce(o, p)

	// The application outlives ctx, to catch up with the last visits.
	running, stopApp := context.WithCancel(context.WithoutCancel(ctx))
	defer stopApp()
	ended := make(chan error, 1)
	go func() { ended <- app.Run(running) }()
	err = pipe(ctx, o, p, v, ended)
	stopApp()
	if err := errors.Join(err, <-ended); err != nil {
		return err
	}
	v.summarize(ctx.Err() != nil, o)
	return nil
}

const (
	batch    = 100 // visits at a time
	every    = 100 * time.Millisecond
	patience = 10 * time.Second // for the last visits, after ctx has ended
)

// pipe makes visits and shows what becomes of them. It ends when all have come through; when ctx ends, with those that have been made.
func pipe(ctx context.Context, o options, p *place, v *view, ended chan error) error {
	limit, told := time.Now().Add(o.limit), time.Now()
	tick := time.NewTicker(every)
	defer tick.Stop()
	interrupted := ctx.Done()
	for v.made < o.visits && ctx.Err() == nil || v.through() < v.made {
		select {
		case <-interrupted:
			interrupted, limit = nil, time.Now().Add(patience)
		case err := <-ended:
			ended <- nil
			return fmt.Errorf("the application ended: %w", err)
		case <-tick.C:
		}
		if v.made < o.visits && ctx.Err() == nil {
			half := v.made < o.visits/2
			if err := makeVisits(ctx, p.visitor, v.n.visits, v.run, v.made, min(batch, o.visits-v.made)); err != nil {
				return err
			}
			v.made = min(v.made+batch, o.visits)
			if half && v.made >= o.visits/2 {
				if err := p.split(v); err != nil {
					return err
				}
			}
		}
		if err := v.poll(ctx); err != nil {
			return err
		}
		if time.Since(told) >= time.Second {
			told = time.Now()
			v.tell()
		}
		if time.Now().After(limit) {
			return fmt.Errorf("the time is over, and %d of %d visits have come through", v.through(), v.made)
		}
	}
	return nil
}
