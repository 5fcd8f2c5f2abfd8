package store

import (
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

// copied is a copy of a database, by the names of its files, and its layout.
type copied struct {
	files  map[string][]byte
	layout Layout
}

// copyOf copies a store that holds so many batches.
func copyOf(t *testing.T, batches uint64, o Options) copied {
	t.Helper()
	s, err := OpenMem(o)
	require.NoError(t, err)
	defer s.Close()
	for n := range batches {
		require.NoError(t, commitNumber(s, n+1, false))
	}
	c, err := s.Checkpoint()
	require.NoError(t, err)
	all := copied{map[string][]byte{}, s.Layout()}
	for _, f := range c.Files {
		if f.Name == "LOCK" {
			continue
		}
		r, err := c.Open(f.Name)
		require.NoError(t, err)
		all.files[f.Name], err = io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, r.Close())
	}
	return all
}

// seed is an Options.Seed that brings the copy.
func (c copied) seed(s *Store) (*Import, error) {
	i, err := s.NewImport("seed")
	if err != nil {
		return nil, err
	}
	i.Layout = c.layout
	for name, bytes := range c.files {
		f, err := i.Create(name)
		if err != nil {
			return nil, errors.Join(err, i.Close())
		}
		_, err = f.Write(slices.Clone(bytes)) // Write may change what it is given
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, errors.Join(err, i.Close())
		}
	}
	if err := i.Open(); err != nil {
		return nil, errors.Join(err, i.Close())
	}
	return i, nil
}

// A new directory begins with a copy, is one of its own from then on, and is not seeded again.
func TestSeed(t *testing.T) {
	for name, keys := range map[string]Keys{"plain": {}, "encrypted": {Current: []byte("0123456789abcdef0123456789abcdef")}} {
		t.Run(name, func(t *testing.T) {
			gone := StoreInfo{Name: "gone", Kind: "table"}
			c := copyOf(t, 20, Options{Keys: keys, Stores: []StoreInfo{gone, {Name: "stays", Kind: "table"}}, Logger: slog.New(slog.DiscardHandler)})
			o := Options{FS: MemFS(), Keys: keys, Stores: []StoreInfo{{Name: "stays", Kind: "table"}}, Seed: c.seed, Logger: slog.New(slog.DiscardHandler)}
			s, err := OpenMem(o)
			require.NoError(t, err)
			require.EqualValues(t, 20, checkPrefix(t, s))
			id, err := s.databaseID()
			require.NoError(t, err)
			require.NoError(t, commitNumber(s, 21, true))
			require.NoError(t, s.Close())
			for _, name := range []string{seedingFile, importPrefix + "seed"} {
				_, err = o.FS.Stat("state/" + name)
				require.ErrorIs(t, err, os.ErrNotExist, name)
			}

			o.Seed = func(*Store) (*Import, error) { return nil, errors.New("there is state") }
			s, err = OpenMem(o)
			require.NoError(t, err)
			require.EqualValues(t, 21, checkPrefix(t, s))
			again, err := s.databaseID()
			require.NoError(t, err)
			require.Equal(t, id, again)
			m, err := s.readManifest()
			require.NoError(t, err)
			require.Equal(t, id, m.Database)
			require.Contains(t, m.Stores, gone, "its data is in the database")
			require.NoError(t, s.Close())

			other, err := OpenMem(Options{Seed: c.seed, Keys: keys, Stores: o.Stores, Logger: o.Logger})
			require.NoError(t, err)
			otherID, err := other.databaseID()
			require.NoError(t, err)
			require.NotEqual(t, id, otherID, "two directories from one copy are two")
			require.NoError(t, other.Close())
		})
	}
}

// State whose manifest was lost is not replaced by a copy.
func TestSeedReplacesNothing(t *testing.T) {
	c := copyOf(t, 5, Options{})
	o := Options{FS: MemFS()}
	s, err := OpenMem(o)
	require.NoError(t, err)
	require.NoError(t, commitNumber(s, 1, true))
	require.NoError(t, s.Close())
	require.NoError(t, o.FS.Remove("state/manifest.json"))
	o.Seed = c.seed
	_, err = OpenMem(o)
	require.ErrorIs(t, err, ErrDamaged)
}

// A seed that fails is an error of Open; the next Open tries again.
func TestSeedFails(t *testing.T) {
	failed := errors.New("no route to host")
	o := Options{FS: MemFS(), Seed: func(*Store) (*Import, error) { return nil, failed }}
	_, err := OpenMem(o)
	require.ErrorIs(t, err, failed)
	o.Seed = copyOf(t, 5, Options{}).seed
	s, err := OpenMem(o)
	require.NoError(t, err)
	require.EqualValues(t, 5, checkPrefix(t, s))
	require.NoError(t, s.Close())
}

// Power is lost before each of the operations with which a directory is seeded, with a random part of what was not synced. The next
// Open finds nothing, or all of the copy.
func TestPowerLossWhileSeeding(t *testing.T) {
	c := copyOf(t, 30, Options{})
	none, all := 0, 0
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 3))
		mem := vfs.NewCrashableMem()
		var mu sync.Mutex // Pebble has goroutines
		var clones []*vfs.MemFS
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
				clones = append(clones, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng}))
			}
			return nil
		}))
		s, err := OpenMem(Options{FS: fs, Seed: c.seed, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		require.NoError(t, s.Close())
		require.Greater(t, len(clones), 50)
		for n, clone := range clones {
			s, err := OpenMem(Options{FS: clone, Logger: slog.New(slog.DiscardHandler)})
			require.NoError(t, err, "seed %d, operation %d", seed, n)
			switch checkPrefix(t, s) {
			case 0:
				none++
			case 30:
				all++
			default:
				require.Fail(t, "a part", "seed %d, operation %d", seed, n)
			}
			require.NoError(t, commitNumber(s, 31, true))
			require.NoError(t, s.Close())
		}
	}
	require.Greater(t, none, 50)
	require.Positive(t, all)
}
