package main

import (
	"bufio"
	"context"
	"flag"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
)

// runFake is a Kinesis and a DynamoDB in a process of their own: what they hold outlives the processes that are killed. It
// says where it listens. Until it is told to be quiet, something goes wrong every now and then.
func runFake(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("fake", flag.ExitOnError)
	seed := fs.Uint64("seed", 1, "of the faults")
	every := fs.Duration("every", 200*time.Millisecond, "between two faults, on average")
	if err := fs.Parse(args); err != nil {
		return err
	}
	s, err := kinesistest.Start(kinesistest.Options{Lag: 200 * time.Millisecond})
	if err != nil {
		return err
	}
	defer s.Close()
	say("listens %s", s.URL())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	quiet := make(chan struct{})
	go func() {
		defer cancel() // the driver is gone
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			if strings.TrimSpace(in.Text()) == "quiet" {
				close(quiet)
			}
		}
	}()
	rng := rand.New(rand.NewPCG(*seed, 4))
	for {
		select {
		case <-time.After(time.Duration(rng.Int64N(2 * int64(*every)))):
			s.Fault(mishap(rng))
		case <-quiet:
			s.Heal()
			quiet = nil
			say("quiet")
			<-ctx.Done()
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// mishap is something that can go wrong.
func mishap(rng *rand.Rand) kinesistest.Fault {
	third := rng.IntN(3)
	all := []kinesistest.Fault{
		{Action: "PutRecords", LoseAnswer: true},
		{Action: "PutRecords", Error: "ProvisionedThroughputExceededException", Times: 3},
		{Action: "PutRecords", Error: "InternalFailure"},
		{Action: "PutRecords", Refuse: func(i int) bool { return i%3 == third }},
		{Action: "PutRecords", Refuse: func(i int) bool { return i%3 != third }, RefuseCode: "InternalFailure"},
		{Action: "PutRecords", Delay: 300 * time.Millisecond},
		{Action: "GetRecords", LoseAnswer: true},
		{Action: "GetRecords", Error: "ProvisionedThroughputExceededException", Times: 3},
		{Action: "GetRecords", Error: "ExpiredIteratorException"},
		{Action: "GetRecords", Error: "InternalFailure"},
		{Action: "GetRecords", Delay: 300 * time.Millisecond},
		{Action: "GetShardIterator", Error: "InternalFailure"},
		{Action: "ListShards", Error: "LimitExceededException"},
		{Action: "UpdateItem", LoseAnswer: true},
		{Action: "UpdateItem", Error: "ThrottlingException"},
		{Action: "UpdateItem", Delay: 300 * time.Millisecond},
		{Action: "Query", Error: "InternalServerError"},
		{Action: "Scan", Error: "ThrottlingException"},
	}
	return all[rng.IntN(len(all))]
}
