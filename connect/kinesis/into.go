package kinesis

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
)

// Into implements connect.Feeder: results go to a system with transactions, together with the positions of the shards that they
// come from. The engine calls it where a topology reads from Kinesis and writes elsewhere.
//
// The outlet is then what knows the positions: it says how far a shard is, once it has shut out whoever wrote for the
// shard before. Leases say who reads; their checkpoints lie behind.
func (s Streams) Into(o connect.Outlet) connect.Connector {
	s.outlet = o
	return s
}

// feeding is a session whose results go to an outlet.
type feeding struct{ *session }

var (
	_ connect.Apart   = feeding{}
	_ connect.Sharded = feeding{}
)

// ProduceFor implements connect.Apart.
func (f feeding) ProduceFor(ctx context.Context, from source.Partition, recs []sink.Record) error {
	return f.out.Write(ctx, from, recs)
}

// feeds says what is not built where results go to an outlet.
func (s *session) feeds() error {
	to := s.c.outlet.System()
	if s.app.Guarantee != connect.ExactlyOnce {
		return fmt.Errorf("the guarantee is %v: from Kinesis to %s there is exactly-once only: leave Config.Guarantee out: %w", s.app.Guarantee, to, connect.ErrStop)
	}
	if len(s.app.Internal) > 0 {
		return fmt.Errorf("the topology brings records to the tasks of their keys, or keeps state, and what is read from Kinesis is written to %s: make two applications of it, one that writes the records "+
			"to a topic by their keys, and one that reads that topic (docs/guarantees.md, \"State on several instances\"): %w", to, connect.ErrStop)
	}
	if s.app.OwnAll {
		return fmt.Errorf("Config.Exchange is InMemory, and from Kinesis to %s there is nothing to exchange: leave it out: %w", to, connect.ErrStop)
	}
	for _, src := range s.app.Sources {
		if slices.Contains(s.app.Sinks, src.Name) {
			return fmt.Errorf("%q is a stream of Kinesis and a topic of %s: give one of them another name: %w", src.Name, to, connect.ErrStop)
		}
	}
	return nil
}

// commit ends the outlet's epoch, where there is one.
func (s *session) commit(ctx context.Context, at []connect.PositionCommit) error {
	if s.out == nil {
		return nil
	}
	return s.out.Commit(ctx, at)
}

// take returns what the outlet knows of shards. It shuts out whoever wrote for them before.
func (s *session) take(ctx context.Context, parts []source.Partition) (map[source.Partition]connect.Committed, error) {
	if s.out == nil {
		return map[source.Partition]connect.Committed{}, nil
	}
	return s.out.Take(ctx, parts)
}

var errWhose = errors.New("it is not known which shard the records come from")
