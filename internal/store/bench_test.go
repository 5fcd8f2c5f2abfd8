package store

import (
	"encoding/binary"
	"testing"

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
