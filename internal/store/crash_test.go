package store

import (
	"flag"
	"log/slog"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var crashesFlag = flag.Int("crashes", 100, "how many times power is lost")

// Power is lost at a random moment, with a random part of what was not synced on the disk. Every batch is there whole or
// not at all, what is there is a prefix, and every synced batch is in it.
func TestPowerLoss(t *testing.T) {
	seeds := uint64(*crashesFlag)
	if testing.Short() {
		seeds = min(seeds, 40)
	}
	quiet := slog.New(slog.DiscardHandler)
	lost := 0
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 1))
		s, err := OpenMem(Options{FS: CrashableFS(), Dir: "root/app", Logger: quiet})
		require.NoError(t, err)
		var synced, n uint64
		for range rng.IntN(120) {
			n++
			sync := rng.IntN(10) == 0
			require.NoError(t, commitNumber(s, n, sync))
			if sync {
				synced = n
			}
		}
		percent := rng.IntN(101)
		clone, err := s.CrashClone(percent, seed)
		require.NoError(t, err, "seed %d", seed)
		got := checkPrefix(t, clone)
		require.GreaterOrEqual(t, got, synced, "seed %d: a synced batch is lost", seed)
		require.LessOrEqual(t, got, n, "seed %d", seed)
		if got < n {
			lost++
		}
		assert.Equal(t, s.InstanceID(), clone.InstanceID())
		require.NoError(t, commitNumber(clone, got+1, true), "the store goes on")
		require.NoError(t, clone.Close())
		require.Equal(t, n, checkPrefix(t, s), "the original is undisturbed")
		require.NoError(t, s.Close())
	}
	t.Logf("%d of %d crashes lost batches that were not synced", lost, seeds)
	if seeds >= 100 {
		assert.Positive(t, lost, "a crash that never loses anything is none")
	}
}

// The process is killed at a random moment: what was written stays.
func TestKillAtRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	o := Options{FS: MemFS(), Logger: slog.New(slog.DiscardHandler)}
	var n, synced uint64
	for range 50 {
		s := reopenKilled(t, o)
		got := checkPrefix(t, s)
		require.GreaterOrEqual(t, got, synced)
		require.LessOrEqual(t, got, n)
		n = got
		for range rng.IntN(60) {
			n++
			sync := rng.IntN(10) == 0
			require.NoError(t, commitNumber(s, n, sync))
			if sync {
				synced = n
			}
		}
		s.Kill()
	}
}

func reopenKilled(t *testing.T, o Options) *Store {
	var s *Store
	require.Eventually(t, func() (ok bool) {
		var err error
		s, err = OpenMem(o)
		return err == nil
	}, waitLimit, tick)
	return s
}

func TestCrashCloneNeedsACrashableFS(t *testing.T) {
	dir := t.TempDir() + "/state"
	s, err := Open(Options{Dir: dir, AppID: "a", KeyGroups: 1})
	require.NoError(t, err)
	_, err = s.CrashClone(50, 1)
	require.Error(t, err)
	require.NoError(t, s.Close())
}
