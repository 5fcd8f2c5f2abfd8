package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
)

// A start outlives a failover, and neither waits for ever nor for what will not change.
func TestPatiently(t *testing.T) {
	s := &session{log: slog.New(slog.DiscardHandler)}
	away := fmt.Errorf("dial: %w", &net.OpError{Op: "dial", Err: errors.New("connection refused")})
	for name, c := range map[string]struct {
		err   error
		until time.Duration // when it begins to succeed
		ends  error
		after time.Duration
	}{
		"at once":          {until: 0},
		"a broker is away": {err: away, until: 12 * time.Second, after: 13750 * time.Millisecond},
		"a leader moves":   {err: kerr.NotCoordinator, until: time.Second, after: 1750 * time.Millisecond},
		"away for good":    {err: away, until: time.Hour, ends: away, after: failover},
		"refused for good": {err: kerr.TransactionalIDAuthorizationFailed, until: time.Hour, ends: kerr.TransactionalIDAuthorizationFailed},
		"told to end":      {err: away, until: time.Hour, ends: away, after: 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if name == "told to end" {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, 10*time.Second)
					defer cancel()
				}
				began := time.Now()
				err := s.patiently(ctx, "something", func(context.Context) error {
					if time.Since(began) < c.until {
						return c.err
					}
					return nil
				})
				require.ErrorIs(t, err, c.ends)
				assert.Equal(t, c.after, time.Since(began))
			})
		})
	}
}
