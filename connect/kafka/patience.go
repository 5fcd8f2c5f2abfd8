package kafka

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// failover is how long a start waits for a cluster that has answered once but not yet found a successor for a broker
// that is gone: a coordinator moves when the controller has missed the broker for its session, some ten seconds.
const failover = time.Minute

// patiently does something until it succeeds, fails for good, or a failover has had its time.
func (s *session) patiently(ctx context.Context, what string, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, failover)
	defer cancel()
	wait := 250 * time.Millisecond
	for {
		err := do(ctx)
		if err == nil || !passes(err) || ctx.Err() != nil {
			return err
		}
		s.log.Warn("the cluster is changing, trying again", "step", what, "error", err)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
		wait = min(2*wait, 2*time.Second)
	}
}

// passes says that an error is of a connection or of a change of leaders, and not of what was asked.
func passes(err error) bool {
	var network *net.OpError
	return errors.As(err, &network) || kerr.IsRetriable(err) || kgo.IsRetryableBrokerErr(err)
}
