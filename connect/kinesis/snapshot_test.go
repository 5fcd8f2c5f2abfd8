package kinesis_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
	"github.com/millstream-go/millstream/internal/store"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/snapshot"
	"github.com/millstream-go/millstream/stream"
)

// copiedTo makes an application keep snapshots in a folder.
func copiedTo(dir string, every time.Duration) func(*stream.Config) {
	return func(c *stream.Config) {
		c.Snapshots = snapshot.Config{Store: snapshot.NewDirectory(dir), Every: every, Keep: 3}
	}
}

func encrypted(c *stream.Config) { c.StateKeys.Current = []byte("0123456789abcdef0123456789abcdef") }

// duplicate returns a copy of a folder.
func (f *fake) duplicate(dir string) string {
	f.Helper()
	to := f.TempDir()
	require.NoError(f, os.CopyFS(to, os.DirFS(dir)))
	return to
}

// manifests are the files that say what is in a snapshot, the oldest first.
func (f *fake) manifests(dir string) []string {
	f.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*", "*", "manifest-*"))
	require.NoError(f, err)
	return list
}

// flip damages a file.
func (f *fake) flip(name string) {
	f.Helper()
	b, err := os.ReadFile(name)
	require.NoError(f, err)
	b[len(b)/2] ^= 1
	require.NoError(f, os.WriteFile(name, b, 0o600))
}

// halve leaves a state directory as a process leaves it that is killed while it brings a snapshot back.
func (f *fake) halve(disk string) {
	f.Helper()
	file, err := os.ReadFile(filepath.Join(disk, "manifest.json"))
	require.NoError(f, err)
	var m struct {
		Manifest struct{ Stores []store.StoreInfo }
	}
	require.NoError(f, json.Unmarshal(file, &m))
	st, err := store.Open(store.Options{Dir: disk, AppID: "test", KeyGroups: 128, Exchange: "memory", Stores: m.Manifest.Stores})
	require.NoError(f, err)
	b := st.NewBatch()
	b.Clear()
	b.Set(0, task.AgeKey(), task.AppendAge(nil, task.Age{Part: true}))
	require.NoError(f, b.Commit(true))
	require.NoError(f, st.Close())
}

// once checks that all results which name the same key and count are the same, and returns how many of them there are.
func (f *fake) once() map[[2]any]int {
	f.Helper()
	n, first := map[[2]any]int{}, map[[2]any]string{}
	for _, r := range f.read("out") {
		var a tally
		require.NoError(f, json.Unmarshal(r.Data, &a))
		id := [2]any{a.Key, a.Count}
		if n[id]++; n[id] == 1 {
			first[id] = string(r.Data)
		}
		require.Equal(f, first[id], string(r.Data))
	}
	return n
}

// untilRead lets an application read everything, and ends it in good order.
func (f *fake) untilRead(dir string, conf ...func(*stream.Config)) (log string) {
	f.Helper()
	in := f.run(tallies(), dir, f.streams(), conf...)
	f.expect(in)
	in.stop(f.T)
	return in.log.String()
}

const fromCopy, unusable = "state taken from a snapshot", "snapshot cannot be used"

// The disk is lost, and shards were split and merged since the snapshot: those that were open are closed, and others follow. State is exact,
// of what was written since the snapshot there are copies, and of what was written before there are none.
func TestALostDisk(t *testing.T) {
	t.Parallel()
	for name, keys := range map[string]func(*stream.Config){"plain": func(*stream.Config) {}, "encrypted": encrypted} {
		t.Run(name, func(t *testing.T) {
			f := start(t, kinesistest.Options{})
			f.CreateStream("in", 3)
			f.CreateStream("out", 1)
			disk, copies, keysOf := t.TempDir(), t.TempDir(), names(20)
			kept := copiedTo(copies, time.Hour)
			f.put("in", 10, keysOf...)
			f.untilRead(disk, kept, keys)
			require.Len(t, f.manifests(copies), 1, "the end makes one")
			before := f.duplicate(copies)

			f.put("in", 5, keysOf...) // in shards that are closed now
			open := f.Shards("in")
			require.NoError(t, f.Split("in", open[0]))
			require.NoError(t, f.Merge("in", open[1], open[2]))
			f.putPacked("in", 1, keysOf...)
			require.NotContains(t, f.untilRead(disk, kept, keys), fromCopy, "the disk is as new")

			f.put("in", 3, keysOf...)
			require.Contains(t, f.untilRead(t.TempDir(), copiedTo(before, time.Hour), keys), fromCopy)
			for id, n := range f.once() {
				switch count := id[1].(int); {
				case count <= 10, count > 20:
					require.Equal(t, 1, n, "%v", id)
				default:
					require.Equal(t, 2, n, "%v", id)
				}
			}
		})
	}
}

// A damaged snapshot is named, and the one before it taken. If all are damaged the application does not begin anew, unless its disk is
// there.
func TestDamagedSnapshots(t *testing.T) {
	t.Parallel()
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 2)
	f.CreateStream("out", 1)
	disk, copies := t.TempDir(), t.TempDir()
	kept := copiedTo(copies, time.Hour)
	for range 2 {
		f.put("in", 10, names(9)...)
		f.untilRead(disk, kept)
	}
	list := f.manifests(copies)
	require.Len(t, list, 2)
	f.flip(list[1])
	f.put("in", 2, names(9)...)
	log := f.untilRead(t.TempDir(), copiedTo(f.duplicate(copies), time.Hour))
	require.Contains(t, log, fromCopy)
	require.Contains(t, log, unusable)
	require.Contains(t, log, filepath.Base(list[1]))
	for id, n := range f.once() {
		require.Equal(t, map[bool]int{true: 1, false: 2}[id[1].(int) <= 10 || id[1].(int) > 20], n, "%v", id)
	}

	f.flip(list[0])
	in := f.run(tallies(), t.TempDir(), f.streams(), kept)
	require.ErrorIs(t, in.wait(t), stream.ErrSnapshotDamaged)
	require.ErrorContains(t, in.err, filepath.Base(list[0]))
	f.put("in", 1, names(9)...)
	log = f.untilRead(disk, kept)
	require.Contains(t, log, unusable)
	require.NotContains(t, log, fromCopy)
}

// An old copy of the disk gives way to a newer snapshot.
func TestAnOldDisk(t *testing.T) {
	t.Parallel()
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 2)
	f.CreateStream("out", 1)
	disk, copies := t.TempDir(), t.TempDir()
	kept := copiedTo(copies, time.Hour)
	f.put("in", 10, names(9)...)
	f.untilRead(disk, kept)
	old := f.duplicate(disk)
	f.put("in", 10, names(9)...)
	require.NoError(t, f.Split("in", f.Shards("in")[0]))
	f.put("in", 10, names(9)...)
	f.untilRead(disk, kept)

	f.put("in", 1, names(9)...)
	require.Contains(t, f.untilRead(old, kept), fromCopy)
	f.put("in", 1, names(9)...)
	require.NotContains(t, f.untilRead(old, kept), fromCopy)
	for id, n := range f.once() {
		require.Equal(t, 1, n, "%v", id)
	}
	in := f.run(tallies(), disk, f.streams(), kept) // the one that it was taken from is the old one now
	f.put("in", 1, names(9)...)
	f.expect(in)
	require.Contains(t, in.log.String(), fromCopy)
	in.stop(t)
	for id, n := range f.once() {
		require.Equal(t, 1, n, "%v", id)
	}
}

// A directory in which a part of a snapshot is must not be taken for the state.
func TestAPartOfASnapshot(t *testing.T) {
	t.Parallel()
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 1)
	f.CreateStream("out", 1)
	disk, copies := t.TempDir(), t.TempDir()
	f.put("in", 10, names(9)...)
	f.untilRead(disk, copiedTo(copies, time.Hour))
	f.halve(filepath.Join(disk, "test"))
	in := f.run(tallies(), disk, f.streams())
	require.ErrorIs(t, in.wait(t), connect.ErrStop)
	require.ErrorContains(t, in.err, "a part of a snapshot")
	in = f.run(tallies(), disk, f.streams(), copiedTo(t.TempDir(), time.Hour))
	require.ErrorContains(t, in.wait(t), "a part of a snapshot")
	f.put("in", 1, names(9)...)
	require.Contains(t, f.untilRead(disk, copiedTo(copies, time.Hour)), fromCopy)
	for id, n := range f.once() {
		require.Equal(t, 1, n, "%v", id)
	}
}

// Of two instances the one that was started first ends. The other has the state.
func TestTakenOver(t *testing.T) {
	t.Parallel()
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 2)
	f.CreateStream("out", 1)
	copies := t.TempDir()
	kept := copiedTo(copies, 20*time.Millisecond)
	f.put("in", 10, names(9)...)
	first := f.run(tallies(), t.TempDir(), f.streams(), kept)
	f.expect(first)
	require.Eventually(t, func() bool { return len(f.manifests(copies)) > 0 }, patience, time.Millisecond)
	second := f.run(tallies(), t.TempDir(), f.streams(), kept)
	err := first.wait(t)
	require.ErrorIs(t, err, stream.ErrSuperseded)
	require.ErrorContains(t, err, "one of the two must not run")
	f.put("in", 10, names(9)...)
	f.expect(second)
	require.Contains(t, second.log.String(), fromCopy)
	second.stop(t)
	f.once()
}

// What is the only copy has to be one of everything: an application whose state is elsewhere, or could be, has none.
func TestNothingToCopy(t *testing.T) {
	t.Parallel()
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 1)
	f.CreateStream("out", 1)
	in := f.run(copies(), t.TempDir(), f.streams(), copiedTo(t.TempDir(), time.Hour), func(c *stream.Config) { c.Exchange = stream.ThroughTopic })
	require.ErrorContains(t, in.wait(t), "Config.Exchange InMemory")
}

// A process is killed at any moment and its disk lost, again and again, while its streams are split and merged. What it has counted is
// exact, and what it has written twice is the same.
func TestKilledWithItsDisk(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("not in a -short run")
	}
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 2)
	f.CreateStream("out", 1)
	copies, keys := t.TempDir(), names(30)
	for round := range 6 {
		self := exec.Command(os.Args[0])
		self.Env = append(os.Environ(), childURL+"="+f.URL(), childDir+"="+t.TempDir(), childCopies+"="+copies)
		self.Stderr = os.Stderr
		require.NoError(t, self.Start())
		before := len(f.manifests(copies))
		f.put("in", 20, keys...)
		if open := f.Shards("in"); round%3 == 2 {
			require.NoError(t, f.Merge("in", open[0], open[1]))
		} else {
			require.NoError(t, f.Split("in", open[round%len(open)]))
		}
		f.putPacked("in", 2, keys...)
		more := 1 + rand.IntN(3)
		require.Eventually(t, func() bool {
			now := len(f.manifests(copies))
			return now >= before+more || now > before && f.counted(keys)
		}, patience, time.Millisecond)
		require.NoError(t, self.Process.Kill())
		require.Error(t, self.Wait())
	}
	f.put("in", 1, keys...)
	require.Contains(t, f.untilRead(t.TempDir(), copiedTo(copies, time.Hour)), fromCopy)
	f.once()
}
