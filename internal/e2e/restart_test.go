package e2e_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/stream"
)

// A cancelled context commits what was processed. The next start goes on from there with the state that it finds, and
// with what it reads back from the changelog if there is none.
func TestStopAndRestart(t *testing.T) {
	t.Parallel()
	b, s := start(t, totalsTopics()), newShop(2)
	dir := t.TempDir()
	// With the disk an id that is kept on it would be gone, and the group would wait for the instance of old.
	id := func(c *stream.Config) { c.InstanceID = "one" }
	b.write(t, s.orders(t, 60)...)
	in := run(t, totals(b), b.config(dir, id))
	b.read(t, "updates", s.updates())
	assert.Less(t, in.stop(t), 2*time.Second, "the group is quiet")
	s.check(t, b, false)

	b.write(t, s.orders(t, 60)...)
	in = run(t, totals(b), b.config(dir, id))
	for _, l := range restored(t, in, 6)[3:] {
		assert.True(t, l.attrs["local"].Bool(), "task %v finds its state", l.attrs["task"])
		assert.LessOrEqual(t, l.attrs["records"].Int64(), int64(2), "and reads back next to nothing")
	}
	s.check(t, b, false)
	in.stop(t)

	require.NoError(t, os.RemoveAll(filepath.Join(dir, b.name("app"))))
	in = run(t, totals(b), b.config(dir, id))
	all := int64(0)
	for _, l := range restored(t, in, 6)[3:] {
		assert.False(t, l.attrs["local"].Bool(), "task %v finds nothing", l.attrs["task"])
		all += l.attrs["records"].Int64()
	}
	assert.Greater(t, all, int64(10), "records of the changelog")
	b.write(t, s.orders(t, 60)...)
	b.write(t, s.end(t)...)
	s.check(t, b, true)
	in.stop(t)
	s.check(t, b, true)
}

// An App can run again after it has stopped, but not twice at a time; a topology can be built again.
func TestMisuse(t *testing.T) {
	t.Parallel()
	slow(t)
	b, s := start(t, totalsTopics()), newShop(3)
	topology := totals(b)
	in := run(t, topology, b.config(t.TempDir()))
	in.tasks(t, 6)
	err := in.App.Run(t.Context())
	require.ErrorIs(t, err, stream.ErrRunning)
	in.stop(t)
	require.ErrorContains(t, in.Leave(t.Context()), "not running")

	b.write(t, s.orders(t, 20)...)
	in.start(t)
	in.tasks(t, 6)
	s.check(t, b, false)
	in.stop(t)

	again := run(t, topology, b.config(t.TempDir(), func(c *stream.Config) { c.AppID = b.name("again") }))
	b.read(t, "updates", 2*s.updates())
	again.stop(t)
	b.noMore(t, "updates", 2*s.updates())
}

// Two applications read one topic and keep their state below one root.
func TestTwoApplications(t *testing.T) {
	t.Parallel()
	slow(t)
	topics := totalsTopics()
	topics["updates2"], topics["finals2"] = 2, 2
	b, s := start(t, topics), newShop(4)
	other := *b
	dir := t.TempDir()
	one := run(t, totals(b), b.config(dir))
	two := run(t, totalsTo(&other, "updates2", "finals2"), b.config(dir, func(c *stream.Config) { c.AppID = b.name("two") }))
	b.write(t, s.orders(t, 40)...)
	s.check(t, b, false)
	one.stop(t)
	b.write(t, s.orders(t, 40)...)
	b.write(t, s.end(t)...)
	s.checkIn(t, b, "updates2", "finals2", true)
	two.stop(t)
	one.start(t)
	s.check(t, b, true)
	one.stop(t)
	s.check(t, b, true)
	s.checkIn(t, b, "updates2", "finals2", true)
}

// State is laid out for one way of exchange and one topology; it is not read by another.
func TestForeignState(t *testing.T) {
	t.Parallel()
	slow(t)
	b, s := start(t, totalsTopics()), newShop(5)
	dir := t.TempDir()
	b.write(t, s.orders(t, 10)...)
	in := run(t, totals(b), b.config(dir))
	in.tasks(t, 6)

	second := run(t, totals(b), b.config(dir, func(c *stream.Config) { c.InstanceID = "second" }))
	err := second.wait(t)
	require.ErrorIs(t, err, stream.ErrInUse)
	assert.ErrorContains(t, err, filepath.Join(dir, b.name("app")))
	assert.ErrorContains(t, err, "give each instance a directory of its own")
	s.check(t, b, false)
	in.stop(t)

	refused := func(topology *stream.Topology, want error, text string, conf ...func(*stream.Config)) {
		t.Helper()
		err := run(t, topology, b.config(dir, conf...)).wait(t)
		require.ErrorIs(t, err, want)
		assert.ErrorContains(t, err, text)
	}
	refused(totals(b), stream.ErrOtherLayout, "laid out for exchange by topic, the configuration says memory: set it back", func(c *stream.Config) { c.Exchange = stream.InMemory })
	refused(totals(b), stream.ErrOtherLayout, "laid out in 128 key groups, the configuration says 64", func(c *stream.Config) { c.KeyGroups = 64 })
	refused(counts(b), stream.ErrOtherTopology, "the topology has none of the stores in it (totals): name another directory, or reset this one")

	newer(t, filepath.Join(dir, b.name("app"), "manifest.json"))
	refused(totals(b), stream.ErrNewer, "was written by a newer version (format 99, this program knows")

	// The other way round.
	dir = t.TempDir()
	memory := func(c *stream.Config) { c.Exchange, c.AppID = stream.InMemory, b.name("memory") }
	in = run(t, totals(b), b.config(dir, memory))
	in.tasks(t, 6)
	in.stop(t)
	refused(totals(b), stream.ErrOtherLayout, "laid out for exchange by memory, the configuration says topic", func(c *stream.Config) { c.AppID = b.name("memory") })
}
