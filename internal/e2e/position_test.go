package e2e_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/stream"
)

// The group's positions are gone, as after weeks in which nothing ran, but the state is there: reading everything again
// would count it twice.
func TestPositionsThatAreGone(t *testing.T) {
	t.Parallel()
	b, s := start(t, totalsTopics()), newShop(9)
	b.write(t, s.orders(t, 20)...)
	dynamic := func(c *stream.Config) { c.Dynamic = true }
	dir := t.TempDir()
	in := run(t, totals(b), b.config(dir, dynamic))
	b.read(t, "updates", s.updates())
	in.stop(t)
	require.Eventually(t, func() bool {
		deleted, err := b.admin(t).DeleteGroups(t.Context(), b.name("app"))
		return err == nil && deleted.Error() == nil
	}, patience, 50*time.Millisecond, "the group is empty at last")
	for _, d := range []string{dir, t.TempDir()} {
		in = run(t, totals(b), b.config(d, dynamic))
		err := in.wait(t)
		require.ErrorIs(t, err, stream.ErrPositionGone)
		require.ErrorContains(t, err, "offsets.retention.minutes")
	}
	b.noMore(t, "updates", s.updates())
}
