package e2e_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millstream-go/millstream/stream"
)

// An instance that is asked to leave ends, whatever fails meanwhile, and says what failed. The next one goes on exactly
// where it ended.
func TestLeaveEndsWhateverFails(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fail     func(c *kfake.Cluster) (mend func())
		interval time.Duration
		says     string
	}{
		"the coordinator does not answer": {func(c *kfake.Cluster) func() {
			c.ControlKey(int16(kmsg.LeaveGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				return nil, errors.New("the line is cut"), true
			})
			return func() {}
		}, 20 * time.Millisecond, "leave group"},
		"the last commit fails": {func(c *kfake.Cluster) func() {
			h := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.FencedInstanceID, Count: -1})
			return func() { h.Remove() }
		}, time.Minute, "fenced"},
		"no broker answers": {func(c *kfake.Cluster) func() {
			var mended atomic.Bool
			c.ControlKey(-1, func(kmsg.Request) (kmsg.Response, error, bool) {
				if !mended.Load() {
					c.KeepControl()
				}
				return nil, errors.New("the line is cut"), !mended.Load()
			})
			return func() { mended.Store(true) }
		}, 20 * time.Millisecond, "leave"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, s := start(t, totalsTopics(), kfake.NumBrokers(1)), newShop(3)
			b.write(t, s.orders(t, 20)...)
			dir := t.TempDir()
			in := run(t, totals(b), b.config(dir, func(c *stream.Config) { c.CommitInterval, c.SessionTimeout = tc.interval, 5*time.Minute }))
			in.until(t, "orders are read", func(s stream.Status) bool {
				return slices.ContainsFunc(s.Tasks, func(k stream.TaskStatus) bool {
					for _, p := range k.Positions {
						if p != "0" {
							return true
						}
					}
					return false
				})
			})
			mend := tc.fail(b.fake.Cluster)
			ctx, done := context.WithTimeout(t.Context(), 3*time.Second)
			defer done()
			require.ErrorContains(t, in.Leave(ctx), tc.says)
			require.NoError(t, in.wait(t))
			mend()
			b.write(t, s.end(t)...)
			in = run(t, totals(b), b.config(dir))
			s.check(t, b, true)
			in.stop(t)
		})
	}
}
