package store

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// benchStore holds n keys of 16 bytes with values of 100, in tables.
func benchStore(b *testing.B, n int) *Store {
	b.Helper()
	s, err := Open(Options{Dir: b.TempDir() + "/state", AppID: "bench", KeyGroups: 128})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	for i := 0; i < n; {
		batch := s.NewBatch()
		for range 1000 {
			batch.Set(1, benchKey(i), make([]byte, 100))
			i++
		}
		require.NoError(b, batch.Commit(false))
	}
	require.NoError(b, s.db.Flush())
	return s
}

func benchKey(i int) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 8), uint64(2*i))
}

func BenchmarkGet(b *testing.B) {
	const keys = 100_000
	for _, c := range []struct {
		name  string
		add   byte
		found bool
	}{{"hit", 0, true}, {"miss", 1, false}} {
		b.Run(c.name, func(b *testing.B) {
			v := benchStore(b, keys).View(1)
			key, dst := benchKey(0), make([]byte, 0, 128)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				binary.BigEndian.PutUint64(key[8:], uint64(2*(i*7919%keys))+uint64(c.add))
				if _, found, err := v.Get(key, dst[:0]); err != nil || found != c.found {
					b.Fatal(found, err)
				}
			}
		})
	}
}

// BenchmarkBatchCommit commits batches of 1000 sorted keys; the time is per key.
func BenchmarkBatchCommit(b *testing.B) {
	for _, c := range []struct {
		name string
		sync bool
	}{{"sorted", false}, {"sorted-sync", true}} {
		b.Run(c.name, func(b *testing.B) {
			s := benchStore(b, 0)
			value := make([]byte, 100)
			key := benchKey(0)
			batch := s.NewBatch()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				binary.BigEndian.PutUint64(key[8:], uint64(i%1_000_000))
				batch.Set(1, key, value)
				if batch.Count() == 1000 {
					if err := batch.Commit(c.sync); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkScan scans 100 keys; the time is per scan.
func BenchmarkScan(b *testing.B) {
	const keys = 100_000
	v := benchStore(b, keys).View(1)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		from, n := i*7919%(keys-100), 0
		if err := v.Scan(benchKey(from), benchKey(from+100), func(_, _ []byte) error { n++; return nil }); err != nil || n != 100 {
			b.Fatal(n, err)
		}
	}
}

// BenchmarkRestoreWays puts a million entries, in the random order of a changelog, into an empty store: in batches, as a restore
// does it, and sorted into one table that Pebble ingests, which is the best case of that way: all of it fits into memory, and
// nothing was there before. The time is per entry, until all can be read; cpu-ns is the whole process's, and goes on until
// everything is in tables.
func BenchmarkRestoreWays(b *testing.B) {
	const entries = 1_000_000
	order := rand.New(rand.NewPCG(1, 1)).Perm(entries)
	value := bytes.Repeat([]byte("0123456789"), 10)
	for _, way := range []struct {
		name string
		run  func(*Store)
	}{
		{"batches", func(s *Store) {
			batch := s.NewBatch()
			for i, k := range order {
				batch.Set(1, benchKey(k), value)
				if i%10_000 == 9_999 {
					require.NoError(b, batch.Commit(false))
				}
			}
		}},
		{"ingested", func(s *Store) {
			type entry struct{ key, value []byte }
			all := make([]entry, 0, entries)
			for _, k := range order {
				key := append(partitionPrefix(1), benchKey(k)...)
				all = append(all, entry{key, bytes.Clone(value)}) // a fetch's buffers do not stay
			}
			slices.SortStableFunc(all, func(x, y entry) int { return bytes.Compare(x.key, y.key) })
			path := s.path("ingest.sst")
			f, err := s.fs.Create(path, vfs.WriteCategoryUnspecified)
			require.NoError(b, err)
			w := sstable.NewWriter(objstorageprovider.NewFileWritable(f), sstable.WriterOptions{TableFormat: formatVersion.MaxTableFormat()})
			for _, e := range all {
				require.NoError(b, w.Set(e.key, e.value))
			}
			require.NoError(b, w.Close())
			require.NoError(b, s.db.Ingest(b.Context(), []string{path}))
		}},
	} {
		b.Run(way.name, func(b *testing.B) {
			var took, cpu time.Duration
			for range b.N {
				s := benchStore(b, 0)
				began, before := time.Now(), processor(b)
				way.run(s)
				took += time.Since(began)
				require.NoError(b, s.db.Flush())
				cpu += processor(b) - before
				_, found, err := s.View(1).Get(benchKey(entries-1), nil)
				require.NoError(b, err)
				require.True(b, found)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(took.Nanoseconds())/float64(b.N)/entries, "ns/entry")
			b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N)/entries, "cpu-ns/entry")
		})
	}
}

// processor is the time that the processors have worked for this process.
func processor(tb testing.TB) time.Duration {
	var u syscall.Rusage
	require.NoError(tb, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
