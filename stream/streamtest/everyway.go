package streamtest

import (
	"hash/crc32"
	"testing"

	"github.com/millstream-go/millstream/stream"
)

// EveryWay runs a scenario in the ways that must make no difference to committed results, each as a subtest: as it is;
// with a restart, a wiped disk, or a crash at each step of the commit after every input; with no cache, with commits
// after every record, with commits that overlap the next epoch, with exchanges in memory, and with records in batches.
// The scenario pipes records and checks what it drains, the same in all of them; it must not look at what is not part of
// the results, such as Counts. The topology is made anew for each. With -short (go test) it is run as it is and in a
// quarter of the other ways, which the name of the test decides, so that they are the same every time.
func EveryWay(t *testing.T, topology func() *stream.Topology, scenario func(t *testing.T, d *Driver), opts ...Option) {
	t.Helper()
	way := func(name string, more ...Option) {
		if testing.Short() && name != "plain" && crc32.ChecksumIEEE([]byte(t.Name()+name))%4 != 0 {
			return
		}
		t.Run(name, func(t *testing.T) {
			scenario(t, New(t, topology(), append(append([]Option(nil), opts...), more...)...))
		})
	}
	after := func(f func(d *Driver)) Option { return func(o *options) { o.after = f } }
	before := func(f func(d *Driver)) Option { return func(o *options) { o.before = f } }
	way("plain")
	way("no cache", CacheSize(0))
	way("batches", Batch(100))
	way("commit each record", CommitEvery(1), CacheSize(0))
	way("overlapping commits", CommitEvery(1), Overlap(), CacheSize(0))
	way("memory exchange", Exchange(stream.InMemory))
	way("restart", after((*Driver).Restart))
	way("kill", after((*Driver).Kill))
	way("wipe", after((*Driver).WipeState))
	for _, step := range Steps() {
		if step == DuringRestore {
			way("crash "+string(step), after(func(d *Driver) { d.Crash(step); d.WipeState() }))
			continue
		}
		way("crash "+string(step), before(func(d *Driver) { d.Crash(step) }))
		way("crash "+string(step)+" of an early commit", before(func(d *Driver) { d.Crash(step) }), CommitEvery(1), Overlap(), CacheSize(0))
		way("crash "+string(step)+", memory exchange", before(func(d *Driver) { d.Crash(step) }), CommitEvery(2), Exchange(stream.InMemory))
	}
}
