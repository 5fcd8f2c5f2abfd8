package e2e_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/stream"
)

// A topology with everything gives what a recomputation of the input gives, whatever way its records take, under each
// guarantee as long as nothing fails.
func TestResults(t *testing.T) {
	t.Parallel()
	for _, way := range []struct {
		name string
		conf func(*stream.Config)
	}{
		{"exactly once", func(c *stream.Config) {}},
		{"at least once", func(c *stream.Config) { c.Guarantee = connect.AtLeastOnce }},
		{"at most once", func(c *stream.Config) { c.Guarantee = connect.AtMostOnce }},
		{"in memory", func(c *stream.Config) { c.Exchange = stream.InMemory }},
		{"in memory, at least once", func(c *stream.Config) { c.Exchange, c.Guarantee = stream.InMemory, connect.AtLeastOnce }},
		{"in memory, at most once", func(c *stream.Config) { c.Exchange, c.Guarantee = stream.InMemory, connect.AtMostOnce }},
		{"one worker, one key group", func(c *stream.Config) { c.Workers, c.KeyGroups = 1, 1 }},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			if way.name != "exactly once" && way.name != "in memory" {
				slow(t)
			}
			b, s := start(t, totalsTopics()), newShop(1)
			b.write(t, s.orders(t, 100)...)
			in := run(t, totals(b), b.config(t.TempDir(), way.conf))
			b.read(t, "updates", s.updates())
			b.write(t, s.orders(t, 100)...)
			b.write(t, s.end(t)...)
			s.check(t, b, true)
			in.stop(t)
			s.check(t, b, true)
			st, err := in.Status(t.Context())
			require.NoError(t, err)
			require.Empty(t, st.Tasks)
		})
	}
}
