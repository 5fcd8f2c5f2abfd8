package store

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// filled makes a directory whose state is in several tables, with a write-ahead log on top, and closes it.
func filled(t *testing.T) (Options, *vfs.MemFS) {
	mem := vfs.NewMem()
	o := Options{FS: mem, Dir: "state", Stores: []StoreInfo{seen}, Logger: slog.New(slog.DiscardHandler)}
	s, err := OpenMem(o)
	require.NoError(t, err)
	for i := uint64(1); i <= 100; i++ {
		require.NoError(t, commitNumber(s, i, false))
	}
	require.NoError(t, s.Close())
	return o, mem
}

// current returns the path of the first file in db whose name begins with a prefix.
func current(t *testing.T, mem *vfs.MemFS, prefix string) string {
	names, err := mem.List("state/db")
	require.NoError(t, err)
	for _, name := range names {
		if strings.HasPrefix(name, prefix) {
			return "state/db/" + name
		}
	}
	require.FailNow(t, "no "+prefix)
	return ""
}

func overwrite(t *testing.T, fs vfs.FS, name string, content []byte) {
	require.NoError(t, writeFile(fs, fs.PathDir(name), fs.PathBase(name), content))
}

func TestMissingFiles(t *testing.T) {
	for name, c := range map[string]struct {
		remove func(t *testing.T, mem *vfs.MemFS) error
		text   string
	}{
		"database": {func(_ *testing.T, mem *vfs.MemFS) error { return mem.RemoveAll("state/db") }, "state/db"},
		"MANIFEST marker": {
			func(t *testing.T, mem *vfs.MemFS) error { return mem.Remove(current(t, mem, "marker.manifest")) },
			"there is a database in state/db, but it is missing or has lost its MANIFEST",
		},
		"MANIFEST": {
			func(t *testing.T, mem *vfs.MemFS) error { return mem.Remove(current(t, mem, "MANIFEST")) }, "MANIFEST",
		},
		"seal":          {func(_ *testing.T, mem *vfs.MemFS) error { return mem.Remove("state/seal.json") }, "seal.json"},
		"manifest.json": {func(_ *testing.T, mem *vfs.MemFS) error { return mem.Remove("state/manifest.json") }, "manifest.json is missing, but the database holds state"},
		"table": {func(t *testing.T, mem *vfs.MemFS) error {
			names, err := mem.List("state/db")
			require.NoError(t, err)
			for _, name := range names {
				if strings.HasSuffix(name, ".sst") {
					return mem.Remove("state/db/" + name)
				}
			}
			return errors.New("no table")
		}, "file does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			o, mem := filled(t)
			require.NoError(t, c.remove(t, mem))
			for range 2 { // a refusal must not turn the directory into one that opens
				_, err := OpenMem(o)
				require.ErrorIs(t, err, ErrDamaged)
				require.ErrorContains(t, err, c.text)
				require.ErrorContains(t, err, mendDamage)
			}
		})
	}
}

// A database that is whole, but not the one that the manifest is about.
func TestForeignDatabase(t *testing.T) {
	o, mem := filled(t)
	other, otherMem := filled(t)
	ok, err := vfs.Clone(otherMem, mem, "state", "other")
	require.NoError(t, err)
	require.True(t, ok)
	for _, name := range []string{"db", sealFile} {
		require.NoError(t, mem.RemoveAll("state/"+name))
		require.NoError(t, mem.Rename("other/"+name, "state/"+name))
	}
	_, err = OpenMem(o)
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, "manifest.json is about database")
	s, err := OpenMem(other)
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

// Open ended before it had written the manifest: the next one goes on from there.
func TestOpenEndedEarly(t *testing.T) {
	o := Options{FS: vfs.NewMem(), Dir: "state"}
	s, err := OpenMem(o)
	require.NoError(t, err)
	id := s.InstanceID()
	require.NoError(t, s.Close())
	require.NoError(t, o.FS.Remove("state/manifest.json"))
	s, err = OpenMem(o)
	require.NoError(t, err)
	assert.Equal(t, id, s.InstanceID())
	require.NoError(t, s.Close())
}

// Each bit of the manifest counts, and each prefix of it.
func TestDamagedManifest(t *testing.T) {
	o, mem := filled(t)
	for _, name := range []string{"state/manifest.json", "state/" + sealFile} {
		good, err := readFile(mem, name)
		require.NoError(t, err)
		damage := func(what string, bad []byte) {
			overwrite(t, mem, name, bad)
			_, err := OpenMem(o)
			require.ErrorIs(t, err, ErrDamaged, what)
			require.ErrorContains(t, err, o.FS.PathBase(name), what)
		}
		for i := range len(good) * 8 {
			bad := append([]byte{}, good...)
			bad[i/8] ^= 1 << (i % 8)
			damage(fmt.Sprintf("%s: bit %d", name, i), bad)
		}
		for n := range len(good) {
			damage(fmt.Sprintf("%s: %d bytes", name, n), good[:n])
		}
		damage("longer", append(append([]byte{}, good...), '\n'))
		overwrite(t, mem, name, good)
	}
	s, err := OpenMem(o)
	require.NoError(t, err)
	assert.EqualValues(t, 100, checkPrefix(t, s))
	require.NoError(t, s.Close())
}

// Pebble alone opens most of these without an error, and with a part of the state.
func TestDamagedPebbleManifest(t *testing.T) {
	o, mem := filled(t)
	name := current(t, mem, "MANIFEST")
	good, err := readFile(mem, name)
	require.NoError(t, err)
	damage := func(what string, bad []byte) {
		overwrite(t, mem, name, bad)
		_, err := OpenMem(o)
		require.ErrorIs(t, err, ErrDamaged, what)
		require.ErrorContains(t, err, "MANIFEST-", what)
	}
	for i := range good {
		bad := append([]byte{}, good...)
		bad[i] ^= 0x10
		damage(fmt.Sprintf("byte %d", i), bad)
	}
	for n := range good {
		damage(fmt.Sprintf("%d bytes", n), good[:n])
	}
	overwrite(t, mem, name, good)
	s, err := OpenMem(o)
	require.NoError(t, err)
	assert.EqualValues(t, 100, checkPrefix(t, s))
	require.NoError(t, s.Close())
}

// A flipped bit in the write-ahead log is an error, or costs the last batches: what opens is a prefix.
func TestDamagedLog(t *testing.T) {
	o, mem := filled(t)
	var name string
	var good []byte
	names, err := mem.List("state/db")
	require.NoError(t, err)
	for _, n := range names {
		if strings.HasSuffix(n, ".log") {
			if b, err := readFile(mem, "state/db/"+n); len(b) > len(good) {
				require.NoError(t, err)
				name, good = "state/db/"+n, b
			}
		}
	}
	require.Greater(t, len(good), 2*workloadValue)
	lost, step := 0, 997
	if testing.Short() {
		step *= 4
	}
	for i := 0; i < len(good); i += step {
		bad := append([]byte{}, good...)
		bad[i] ^= 0x10
		clone := vfs.NewMem()
		ok, err := vfs.Clone(mem, clone, "state", "state")
		require.NoError(t, err)
		require.True(t, ok)
		overwrite(t, clone, name, bad)
		damaged := o
		damaged.FS = clone
		s, err := OpenMem(damaged)
		if err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			continue
		}
		if checkPrefix(t, s) < 100 {
			lost++
		}
		require.NoError(t, s.Close())
	}
	t.Logf("%d flips cost batches", lost)
}

// A table with a flipped bit opens, and is found out when the block is read: by the reader and by OnFault.
func TestDamagedTable(t *testing.T) {
	mem := vfs.NewMem()
	faults := make(chan error, 10)
	o := Options{FS: mem, Dir: "state", Logger: slog.New(slog.DiscardHandler), OnFault: func(err error) { faults <- err }}
	s, err := OpenMem(o)
	require.NoError(t, err)
	put(t, s, 1, "key=a value that is easy to find")
	require.NoError(t, s.db.Flush())
	require.NoError(t, s.Close())
	names, err := mem.List("state/db")
	require.NoError(t, err)
	for _, name := range names {
		if content, err := readFile(mem, "state/db/"+name); strings.HasSuffix(name, ".sst") {
			require.NoError(t, err)
			content[0] ^= 1 // in the data block
			overwrite(t, mem, "state/db/"+name, content)
		}
	}
	s, err = OpenMem(o)
	if err == nil {
		_, _, err = s.View(1).Get([]byte("key"), nil)
		require.ErrorIs(t, receive(t, "report", faults), ErrDamaged)
		within(t, "Close", func() { require.ErrorIs(t, s.Close(), ErrDamaged) })
	}
	require.ErrorIs(t, err, ErrDamaged)
}

// unflushed is a file system on which tables wait to be written, once waits is set, until flush is closed.
type unflushed struct {
	vfs.FS
	waits *atomic.Bool
	flush chan struct{}
}

func (u unflushed) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if u.waits.Load() && strings.HasSuffix(name, ".sst") {
		<-u.flush
	}
	return u.FS.Create(name, c)
}

// A process is killed before what is in its first log has been flushed. Damage to that, with another log behind it, would be a
// hole.
func TestDamagedLogs(t *testing.T) {
	o, mem := filled(t)
	fs := unflushed{mem, &atomic.Bool{}, make(chan struct{})}
	o.FS = fs
	s, err := OpenMem(o)
	require.NoError(t, err)
	fs.waits.Store(true)
	logs := func() (names []string) {
		list, err := mem.List("state/db")
		require.NoError(t, err)
		for _, name := range list {
			if strings.HasSuffix(name, ".log") {
				names = append(names, "state/db/"+name)
			}
		}
		slices.Sort(names)
		return names
	}
	last := uint64(100)
	for newest := logs(); newest[len(newest)-1] == logs()[len(logs())-1]; last++ {
		require.NoError(t, commitNumber(s, last+1, true))
	}
	killed := func() *vfs.MemFS {
		clone := vfs.NewMem()
		ok, err := vfs.Clone(mem, clone, "state", "state")
		require.NoError(t, err)
		require.True(t, ok)
		return clone
	}
	names := logs()
	first, second := names[len(names)-2], names[len(names)-1]
	for what, damage := range map[string]func(t *testing.T, fs vfs.FS){
		"nothing": nil,
		"lost":    func(t *testing.T, fs vfs.FS) { require.NoError(t, fs.Remove(first)) },
		"empty":   func(t *testing.T, fs vfs.FS) { overwrite(t, fs, first, nil) },
		"cut": func(t *testing.T, fs vfs.FS) {
			b, err := readFile(fs, first)
			require.NoError(t, err)
			overwrite(t, fs, first, b[:len(b)/2])
		},
		"flipped": func(t *testing.T, fs vfs.FS) {
			b, err := readFile(fs, first)
			require.NoError(t, err)
			b[len(b)/2] ^= 1
			overwrite(t, fs, first, b)
		},
		"swapped": func(t *testing.T, fs vfs.FS) {
			b, err := readFile(fs, second)
			require.NoError(t, err)
			overwrite(t, fs, first, b)
		},
	} {
		t.Run(what, func(t *testing.T) {
			clone := killed()
			again := o
			again.FS = clone
			if damage != nil {
				damage(t, clone)
				_, err := OpenMem(again)
				require.ErrorIs(t, err, ErrDamaged)
				return
			}
			s, err := OpenMem(again)
			require.NoError(t, err)
			assert.Equal(t, last, checkPrefix(t, s))
			require.NoError(t, s.Close())
		})
	}
	close(fs.flush)
	require.NoError(t, s.Close())
}
