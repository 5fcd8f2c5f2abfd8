// Package kinesis connects applications to Amazon Kinesis Data Streams. A shard is a partition of its stream, numbered by
// the number in its id; a position is a sequence number with the sub-sequence number of a record inside an aggregate.
//
// Kinesis has no transactions, no headers and no memory of positions. State and positions are kept together in the
// engine's store (connect.Sharded), so each record changes state exactly once; what is written can be written twice after
// an unclean end. docs/guarantees.md says what follows from that. Where results go to Kafka, positions go there with them.
//
// # Goroutines
//
// Each shard that is read has one (reader), which calls GetRecords, or takes what is pushed, and hands batches to Run; each stream that is written has
// some (writer). Run alone calls the engine's Handler.
package kinesis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	api "github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millstream-go/millstream/connect"
)

// Streams connects to the streams of one account and region. Client is required; everything else has a default.
type Streams struct {
	// Client is the caller's, with its credentials, region, endpoint and HTTP client. Its retries are not used: the
	// connector has its own.
	Client *api.Client
	// Leases say which shards this instance reads. The default is InProcess: all of them.
	Leases Leases
	// Tasks is the number of tasks that keyed state is spread over, where the topology does not say one (Repartition). It
	// must stay what it was when the state was created. The default is 16.
	Tasks int32
	// PollEvery is how often a shard that has been read to its end is asked for more. The default is one second.
	PollEvery time.Duration
	// CallsPerSecond bounds the calls of GetRecords for a shard. The service allows five, shared by all that read the stream by
	// polling. The default is 5.
	CallsPerSecond float64
	// BytesPerSecond bounds what is read of a shard. The service allows 2 MiB, shared in the same way. The default is 2 MiB.
	BytesPerSecond int
	// CallTimeout is the deadline of each call. The default is 10 seconds.
	CallTimeout time.Duration
	// DiscoverEvery is how often the shards are listed, beside the end of each shard. The default is one minute.
	DiscoverEvery time.Duration
	// FanOut is the name of a consumer (enhanced fan-out), by which each shard is pushed to the instance that reads it, with a
	// throughput of its own. It is registered for each source if it is not there, and stays when the application ends. Applications that
	// read the same stream need different names. Empty, the default: shards are polled. A shard that cannot be pushed is polled, too.
	FanOut string
	// DropForeign drops an aggregate that holds a record whose hash key its shard does not own, and counts it, as the Kinesis
	// Client Library does. Choose it if all producers are Kinesis Producer Libraries or this connector: after a
	// reshard those write such records again. The default keeps them.
	DropForeign bool
	// Write is how streams are written.
	Write Write
	// Observe, if it is not nil, is told what happens; see Event. It is called from several goroutines, and must not block.
	Observe func(Event)

	log    *slog.Logger
	outlet connect.Outlet

	subscribeEvery, silence, checkpointEvery time.Duration // tests have less time
}

var _ connect.Feeder = Streams{}

// System implements connect.Connector.
func (s Streams) System() string { return "kinesis" }

// Check implements connect.Connector.
func (s Streams) Check() (errs []error) {
	if s.Client == nil {
		errs = append(errs, errors.New("the Client is nil: make one with kinesis.NewFromConfig of aws-sdk-go-v2"))
	}
	s = s.withDefaults()
	for name, d := range map[string]time.Duration{"PollEvery": s.PollEvery, "CallTimeout": s.CallTimeout, "DiscoverEvery": s.DiscoverEvery, "Write.Linger": s.Write.Linger} {
		if d < time.Millisecond {
			errs = append(errs, fmt.Errorf("%s is %v: it must be at least 1ms", name, d))
		}
	}
	if s.Tasks < 1 {
		errs = append(errs, fmt.Errorf("Tasks is %d: it must be at least 1", s.Tasks))
	}
	if s.BytesPerSecond < 1 {
		errs = append(errs, fmt.Errorf("BytesPerSecond is %d: it must be at least 1", s.BytesPerSecond))
	}
	if s.CallsPerSecond <= 0 {
		errs = append(errs, fmt.Errorf("CallsPerSecond is %v: it must be more than 0", s.CallsPerSecond))
	}
	return append(errs, s.Write.check()...)
}

func (s Streams) withDefaults() Streams {
	def(&s.Tasks, 16)
	def(&s.PollEvery, time.Second)
	def(&s.CallsPerSecond, 5)
	def(&s.BytesPerSecond, 2<<20)
	def(&s.CallTimeout, 10*time.Second)
	def(&s.DiscoverEvery, time.Minute)
	def(&s.subscribeEvery, subscribeEvery)
	def(&s.silence, silence)
	def(&s.checkpointEvery, checkpointEvery)
	s.Write = s.Write.withDefaults()
	if s.Leases == nil {
		s.Leases = InProcess{}
	}
	if s.Observe == nil {
		s.Observe = func(Event) {}
	}
	return s
}

func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// patience is how long the service may be out of reach when a session is opened.
const patience = 30 * time.Second

// Open implements connect.Connector.
func (s Streams) Open(ctx context.Context, app connect.App) (connect.Session, error) {
	s = s.withDefaults()
	s.log = app.Logger
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	session, err := open(limited, s, app)
	if err != nil {
		return nil, err
	}
	if session.out != nil {
		return feeding{session}, nil
	}
	return session, nil
}

// Event is something that has happened and that an operator of the application may want to count.
type Event struct {
	What   What
	Stream string
	Shard  string // empty where it concerns none
	N      int    // how many records
	Err    error
}

// What tells events apart.
type What uint8

// The kinds of events.
const (
	Throttled    What = iota // the service refused a call, or records of one, for their rate
	Retried                  // a call failed for another passing reason and is repeated
	Expired                  // an iterator had expired, and a new one was taken
	Reshaped                 // a shard was read to its end
	BadAggregate             // an aggregate is damaged: it was handed on as it is
	Foreign                  // an aggregate holds records of another shard
	MaybeDoubled             // records were sent again after a call whose outcome is not known
	WrittenAgain             // records of an aggregate that came into the wrong shard were written again
	Resubscribed             // a connection over which a shard was pushed has ended, and another is made
	FellBack                 // a shard cannot be pushed and is polled instead
	LeaseTaken               // this instance reads a shard from now on
	LeaseAsked               // another instance is to have the shard, and gets it after the epoch
	LeaseLost                // the shard has gone to another instance, or may have: what was not committed is read again there
)
