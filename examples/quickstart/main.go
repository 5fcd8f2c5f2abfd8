// Quickstart is Millstream at work, in one process and some seconds: payments by card come in through a Kafka topic; it
// keeps the approved ones, sums them up per card in overlapping windows, and writes each window's features to a topic
// when the window closes. Payments that come too late for all their windows go to a topic of their own.
//
// The Kafka is one inside the process, unless -brokers names a real one. topology.go has the application,
// generator.go makes the payments, view.go prints what happens, place.go has directory and topics.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kafka"
	"github.com/millstream-go/millstream/stream"
)

type options struct {
	dir     string
	reset   bool
	brokers string
	prefix  string
	length  time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.dir, "state", defaultDir(), "directory for the application's state and the broker's topics")
	flag.BoolVar(&o.reset, "reset", false, "wipe the directory first")
	flag.StringVar(&o.brokers, "brokers", "", "addresses of a real Kafka, with commas, instead of the one in this process")
	flag.StringVar(&o.prefix, "prefix", "quickstart-", "what the names of all topics begin with")
	flag.DurationVar(&o.length, "for", 15*time.Second, "how long to run")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// run runs the quickstart until its time is over or ctx ends.
func run(ctx context.Context, o options, out io.Writer) (err error) {
	began := time.Now()
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return err
	}
	p, t := place{o.dir}, topicsOf(o.prefix)
	if err := p.open(o.reset); err != nil {
		return err
	}
	brokers := strings.Split(o.brokers, ",")
	if o.brokers == "" {
		addrs, stop, err := p.broker()
		if err != nil {
			return err
		}
		defer stop()
		brokers = addrs
	}
	if err := t.create(ctx, brokers); err != nil {
		return err
	}
	introduce(out, o, brokers, t)

	app, err := topology(t).Build(stream.Config{
		AppID:      t.app,
		StateDir:   p.state(),
		InstanceID: p.instance(),
		Connect:    []connect.Connector{kafka.Cluster{Brokers: brokers}},
	})
	if err != nil {
		return err
	}
	return watch(ctx, app, brokers, t, out, o, began)
}

// watch runs the application and the generator side by side, and shows what happens.
func watch(ctx context.Context, app *stream.App, brokers []string, t topics, out io.Writer, o options, began time.Time) error {
	v, err := newView(ctx, app, brokers, t, out)
	if err != nil {
		return err
	}
	defer v.close()

	// The application outlives ctx, to catch up with the last payments.
	running, stopApp := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- app.Run(running) }()
	stop := func() error {
		stopApp()
		return <-ended
	}

	var generating sync.WaitGroup
	defer generating.Wait()
	limit, cancel := context.WithDeadline(ctx, began.Add(o.length))
	defer cancel()
	from, err := v.ready(limit, ended)
	if err != nil {
		stopApp()
		return err
	}
	tellStart(out, t, from)
	generated := make(chan error, 1)
	generating.Go(func() { generated <- generate(limit, brokers, t.payments, len(from) == 0) })

	if err := v.show(limit, ended, generated); err != nil {
		_ = stop()
		return err
	}
	interrupted := ctx.Err() != nil
	v.catchUp(time.Second)
	if err := stop(); err != nil {
		return err
	}
	v.summarize(interrupted, time.Since(began), o)
	return nil
}
