// Kinesis-features makes features of payments while they come, in one process and some seconds: from a Kinesis stream of payments it
// writes to another what each card has spent in the five seconds before each payment, and every two seconds what each has
// spent in the last ten. State and positions are in one directory of this process, which reads all shards; each payment counts exactly
// once, also after a crash and while shards are split. Half-way one is.
//
// The Kinesis is inside the process, unless flags name a real one: -endpoint one of yours, or -region alone AWS's own. Credentials for AWS are
// those of AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN. On a real one the streams <prefix>payments and
// <prefix>by-card must exist, and -state names the directory from which the next run goes on.
//
// topology.go has the application, place.go the Kinesis, payments.go makes payments, view.go prints what comes out.
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
	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/stream"
)

type options struct {
	endpoint, region, prefix, state string
	length                          time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.endpoint, "endpoint", "", "URL of a real Kinesis, instead of the one in this process")
	flag.StringVar(&o.region, "region", "", "region of a real Kinesis")
	flag.StringVar(&o.prefix, "prefix", "features-", "what the names of the streams begin with")
	flag.StringVar(&o.state, "state", "", "directory for state and positions on a real Kinesis; empty: one that is deleted at the end")
	flag.DurationVar(&o.length, "for", 15*time.Second, "how long to run")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "kinesis-features:", err)
		os.Exit(1)
	}
}

// run runs the application until its time is over or ctx ends.
func run(ctx context.Context, o options, out io.Writer) (err error) {
	n := namesOf(o.prefix)
	p, err := open(o, n)
	if err != nil {
		return err
	}
	defer p.close()
	dir := o.state
	if dir == "" {
		if dir, err = os.MkdirTemp("", "kinesis-features"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	app, err := topology(n).Build(stream.Config{
		AppID:    n.app,
		StateDir: dir,
		Connect:  []connect.Connector{kinesis.Streams{Client: p.client, PollEvery: 250 * time.Millisecond}},
		Exchange: stream.InMemory, // payments go to the tasks of their cards within the process
	})
	if err != nil {
		return err
	}
	v, err := newView(ctx, p.client, n, out)
	if err != nil {
		return err
	}
	v.introduce(o, p)

	running, stopApp := context.WithCancel(context.WithoutCancel(ctx))
	defer stopApp()
	ended := make(chan error, 1)
	go func() { ended <- app.Run(running) }()
	err = pay(ctx, o, p, v, ended)
	stopApp()
	if err := errors.Join(err, <-ended); err != nil {
		return err
	}
	// What was committed last can be read now.
	if err := v.poll(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	v.summarize(ctx.Err() != nil, o)
	return nil
}

// pay makes payments and shows what becomes of them, until the time is over or ctx ends.
func pay(ctx context.Context, o options, p *place, v *view, ended chan error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	over := time.After(o.length)
	half := time.After(o.length / 2)
	var polled, told time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-over:
			return nil
		case err := <-ended:
			ended <- nil
			return fmt.Errorf("the application ended: %w", err)
		case <-half:
			if err := p.split(v); err != nil {
				return err
			}
		case <-tick.C:
			n, err := makePayments(ctx, p.client, v.n.payments)
			v.made += n
			if err != nil {
				return err
			}
		}
		if time.Since(polled) >= pollEvery {
			polled = time.Now()
			if err := v.poll(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
		if time.Since(told) >= time.Second {
			told = time.Now()
			v.tell()
		}
	}
}
