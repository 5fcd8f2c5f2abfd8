// Kinesis-etl is a pipeline on Kinesis, in one process and some seconds: visits of web pages come in through a stream; it
// parses them, drops what is personal, takes out what is asked of them later, and writes views to a second stream, counts of pages per minute to a
// third, and what it cannot use, with the reason, to a fourth. Half-way the stream of visits is split.
//
// The Kinesis is one inside the process, unless -endpoint names a real one, or -region alone AWS's own: the credentials are then those
// of AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, and the streams <prefix>visits, views, pages and dead
// must exist. topology.go has the application, visits.go makes the visits and reads the results.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
	"github.com/millstream-go/millstream/stream"
)

type options struct {
	dir, endpoint, region, prefix string
	visits                        int
	limit                         time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.dir, "state", "", "directory for the application's state; empty: one that is deleted at the end")
	flag.StringVar(&o.endpoint, "endpoint", "", "URL of a real Kinesis, instead of the one in this process")
	flag.StringVar(&o.region, "region", "", "region of a real Kinesis")
	flag.StringVar(&o.prefix, "prefix", "etl-", "what the names of all streams begin with")
	flag.IntVar(&o.visits, "visits", 5000, "how many visits are made")
	flag.DurationVar(&o.limit, "for", time.Minute, "how long to run at most")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "kinesis-etl:", err)
		os.Exit(1)
	}
}

// run runs the pipeline until all visits have come through.
func run(ctx context.Context, o options, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "kinesis-etl"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	}
	n := names{o.prefix + "visits", o.prefix + "views", o.prefix + "pages", o.prefix + "dead"}
	client, reshard, stop, err := connectTo(o, n)
	if err != nil {
		return err
	}
	defer stop()
	results, err := newResults(ctx, client, n)
	if err != nil {
		return err
	}
	app, err := topology(n, []byte("kept where secrets are kept")).Build(stream.Config{
		AppID:    o.prefix + "app",
		StateDir: filepath.Join(o.dir, "state"),
		Connect:  []connect.Connector{kinesis.Streams{Client: client, PollEvery: 250 * time.Millisecond}},
		Exchange: stream.InMemory,
	})
	if err != nil {
		return err
	}
	running, stopApp := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- app.Run(running) }()
	fail := func(err error) error {
		stopApp()
		return errors.Join(err, <-ended)
	}
	fmt.Fprintf(out, "%d visits go into stream %s...\n", o.visits, n.visits)
	began := time.Now()
	if err := makeVisits(ctx, client, n.visits, o.visits, began, reshard); err != nil {
		return fail(err)
	}
	if err := results.await(ctx, o.visits, ended); err != nil {
		return fail(err)
	}
	stopApp()
	if err := <-ended; err != nil {
		return err
	}
	results.summarize(out, time.Since(began))
	return nil
}

// connectTo returns a client of the Kinesis that the options name; without one, of a service in this process, where the
// stream of visits can be split.
func connectTo(o options, n names) (client *api.Client, reshard func() error, stop func(), err error) {
	if o.endpoint != "" || o.region != "" {
		c := api.Options{Region: o.region, Credentials: credentials.NewStaticCredentialsProvider(os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SESSION_TOKEN"))}
		if o.endpoint != "" {
			c.BaseEndpoint = aws.String(o.endpoint)
		}
		if c.Region == "" {
			c.Region = "us-east-1"
		}
		return api.New(c), func() error { return nil }, func() {}, nil
	}
	s, err := kinesistest.Start(kinesistest.Options{})
	if err != nil {
		return nil, nil, nil, err
	}
	for name, shards := range map[string]int{n.visits: 2, n.views: 2, n.pages: 1, n.dead: 1} {
		s.CreateStream(name, shards)
	}
	client = api.New(api.Options{Region: "local", BaseEndpoint: aws.String(s.URL()), HTTPClient: s.HTTPClient(), Credentials: credentials.NewStaticCredentialsProvider("any", "any", "")})
	return client, func() error { return s.Split(n.visits, s.Shards(n.visits)[0]) }, s.Close, nil
}
