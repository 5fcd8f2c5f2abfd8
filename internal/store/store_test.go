package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// openMem opens a store in memory that is closed at the end of the test.
func openMem(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := OpenMem(o)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

// put commits one batch of "key=value" pairs.
func put(t testing.TB, s *Store, partition int32, pairs ...string) {
	t.Helper()
	b := s.NewBatch()
	for _, p := range pairs {
		k, v, _ := strings.Cut(p, "=")
		b.Set(partition, []byte(k), []byte(v))
	}
	require.NoError(t, b.Commit(false))
}

// list returns what a scan sees, as "key=value" pairs.
func list(t testing.TB, v View, lo, hi []byte) []string {
	t.Helper()
	got := []string{}
	require.NoError(t, v.Scan(lo, hi, func(key, value []byte) error {
		got = append(got, string(key)+"="+string(value))
		return nil
	}))
	return got
}

func TestGetAppendsToDst(t *testing.T) {
	s := openMem(t, Options{})
	put(t, s, 3, "a=1", "empty=", "=no key")
	for _, c := range []struct {
		key, dst, want string
		found          bool
	}{
		{"a", "", "1", true},
		{"a", "x", "x1", true},
		{"empty", "x", "x", true},
		{"", "", "no key", true},
		{"b", "x", "x", false},
		{"aa", "x", "x", false},
	} {
		got, found, err := s.View(3).Get([]byte(c.key), []byte(c.dst))
		require.NoError(t, err)
		assert.Equal(t, c.found, found, "key %q", c.key)
		assert.Equal(t, c.want, string(got), "key %q", c.key)
	}
}

// What was read from a table stays in the block cache, also when a memtable is as large as the cache or larger.
func TestBlocksStayInTheCache(t *testing.T) {
	s := openMem(t, Options{CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	for i := range 200 { // 2 MB: memtables have grown to their size
		pairs := make([]string, 100)
		for j := range pairs {
			pairs[j] = fmt.Sprintf("%06d=%0100d", 100*i+j, i)
		}
		put(t, s, 0, pairs...)
	}
	require.NoError(t, s.db.Flush())
	read := func() {
		for i := range 10 {
			_, found, err := s.View(0).Get(fmt.Appendf(nil, "%06d", 1000*i), nil)
			require.NoError(t, err)
			require.True(t, found)
		}
	}
	read()
	before := s.take()
	read()
	after := s.take()
	assert.Equal(t, before.CacheMisses, after.CacheMisses)
	assert.Greater(t, after.CacheHits, before.CacheHits)
}

func TestGetSortedIsGet(t *testing.T) {
	s := openMem(t, Options{})
	put(t, s, 2, "a=of another partition", "c=the same")
	put(t, s, 3, "a=old", "aa=1", "c=deleted", "=no key")
	require.NoError(t, s.db.Flush())
	require.NoError(t, s.db.Compact(t.Context(), partitionPrefix(0), partitionPrefix(9), false))
	put(t, s, 3, "a=new", "d=", "x1=in a range")
	require.NoError(t, s.db.Flush())
	b := s.NewBatch()
	b.Delete(3, []byte("c"))
	b.DeleteRange(3, []byte("x"), []byte("y"))
	require.NoError(t, b.Commit(false))
	put(t, s, 3, "x2=after it")
	var keys [][]byte
	for _, k := range []string{"", "A", "a", "aa", "aaa", "c", "d", "x1", "x2", "z"} {
		keys = append(keys, []byte(k))
	}
	seen, found := 0, 0
	require.NoError(t, s.View(3).GetSorted(keys, func(i int, val []byte, ok bool) error {
		require.Equal(t, seen, i)
		want, wanted, err := s.View(3).Get(keys[i], nil)
		require.NoError(t, err)
		require.Equal(t, wanted, ok, "%s", keys[i])
		if ok {
			found++
			require.Equal(t, string(want), string(val))
		}
		seen++
		return nil
	}))
	require.Equal(t, len(keys), seen)
	require.Equal(t, 5, found)

	stop := errors.New("stop")
	require.Equal(t, stop, s.View(3).GetSorted(keys, func(int, []byte, bool) error { return stop }))
}

func TestPartitionsAreApart(t *testing.T) {
	s := openMem(t, Options{})
	partitions := []int32{0, 1, 255, 256, maxPartition}
	for _, p := range partitions {
		put(t, s, p, fmt.Sprintf("k=%d", p), "\xff\xff=last")
	}
	for _, p := range partitions {
		assert.Equal(t, []string{fmt.Sprintf("k=%d", p), "\xff\xff=last"}, list(t, s.View(p), nil, nil))
	}
	assert.Empty(t, list(t, s.View(2), nil, nil))

	b := s.NewBatch()
	b.DeleteRange(255, nil, nil)
	require.NoError(t, b.Commit(false))
	assert.Empty(t, list(t, s.View(255), nil, nil))
	for _, p := range []int32{0, 1, 256, maxPartition} {
		assert.Len(t, list(t, s.View(p), nil, nil), 2, "partition %d", p)
	}
}

func TestPartitionOutOfRange(t *testing.T) {
	s := openMem(t, Options{})
	for _, p := range []int32{-1, maxPartition + 1, 1 << 20} {
		_, _, err := s.View(p).Get([]byte("k"), nil)
		require.ErrorContains(t, err, "partitions 0 to 65534")
		require.Error(t, s.View(p).Scan(nil, nil, nil))
		b := s.NewBatch()
		b.Set(p, []byte("k"), nil)
		b.Set(1, []byte("k"), nil)
		require.ErrorContains(t, b.Commit(false), fmt.Sprintf("partition %d", p))
	}
	assert.Empty(t, list(t, s.View(1), nil, nil), "a batch with a mistake must not be applied")
}

func TestScanBounds(t *testing.T) {
	s := openMem(t, Options{})
	put(t, s, 7, "d=4", "b=2", "a=1", "c=3", "bb=5")
	put(t, s, 6, "z=0")
	put(t, s, 8, "a=0")
	for _, c := range []struct {
		lo, hi []byte
		want   string
	}{
		{nil, nil, "a=1 b=2 bb=5 c=3 d=4"},
		{[]byte("b"), []byte("c"), "b=2 bb=5"},
		{[]byte("b"), nil, "b=2 bb=5 c=3 d=4"},
		{nil, []byte("b"), "a=1"},
		{[]byte("c"), []byte("b"), ""},
		{[]byte("b"), []byte("b"), ""},
		{nil, []byte{}, ""},
		{[]byte("e"), nil, ""},
	} {
		assert.Equal(t, c.want, strings.Join(list(t, s.View(7), c.lo, c.hi), " "), "%q to %q", c.lo, c.hi)
	}
}

func TestScanEndsWithTheCallbacksError(t *testing.T) {
	s := openMem(t, Options{})
	put(t, s, 1, "a=1", "b=2")
	stop, calls := errors.New("stop"), 0
	err := s.View(1).Scan(nil, nil, func(_, _ []byte) error { calls++; return stop })
	assert.Equal(t, stop, err)
	assert.Equal(t, 1, calls)
}

func TestScanSeesTheStateAtItsBegin(t *testing.T) {
	s := openMem(t, Options{})
	put(t, s, 1, "a=1", "b=2")
	var got []string
	require.NoError(t, s.View(1).Scan(nil, nil, func(k, v []byte) error {
		put(t, s, 1, "b=new", "c=new") // the callback may use the store
		got = append(got, string(k)+"="+string(v))
		return nil
	}))
	assert.Equal(t, []string{"a=1", "b=2"}, got)
	assert.Equal(t, []string{"a=1", "b=new", "c=new"}, list(t, s.View(1), nil, nil))
}

func TestBatch(t *testing.T) {
	s := openMem(t, Options{})
	put(t, s, 1, "a=1", "b=2", "c=3", "d=4", "e=5")
	b := s.NewBatch()
	assert.Zero(t, b.Len())
	b.Set(1, []byte("c1"), []byte("in the range, before it"))
	b.DeleteRange(1, []byte("b"), []byte("d"))
	b.Set(1, []byte("c2"), []byte("in the range, after it"))
	b.Delete(1, []byte("e"))
	b.Delete(1, []byte("absent"))
	b.DeleteRange(1, []byte("d"), []byte("a")) // nothing is between them
	b.Set(2, []byte("x"), []byte("y"))
	assert.Equal(t, 6, b.Count())
	assert.Greater(t, b.Len(), 50)
	assert.Len(t, list(t, s.View(1), nil, nil), 5, "nothing is applied before Commit")
	require.NoError(t, b.Commit(false))
	assert.Equal(t, []string{"a=1", "c2=in the range, after it", "d=4"}, list(t, s.View(1), nil, nil))
	assert.Equal(t, []string{"x=y"}, list(t, s.View(2), nil, nil))

	assert.Zero(t, b.Count(), "empty after Commit")
	b.Set(1, []byte("again"), nil)
	require.NoError(t, b.Commit(true))
	assert.Contains(t, list(t, s.View(1), nil, nil), "again=")
}

func TestBatchCopiesWhatItIsGiven(t *testing.T) {
	s := openMem(t, Options{})
	b := s.NewBatch()
	k, v := []byte("k"), []byte("v")
	b.Set(1, k, v)
	k[0], v[0] = 'x', 'x'
	require.NoError(t, b.Commit(false))
	assert.Equal(t, []string{"k=v"}, list(t, s.View(1), nil, nil))
}

func TestBatchTooLarge(t *testing.T) {
	s := openMem(t, Options{})
	b := s.NewBatch()
	b.Set(1, []byte("a"), []byte("1"))
	assert.False(t, b.room(1, MaxBatchBytes))
	require.ErrorIs(t, b.Commit(false), ErrTooLarge)
	assert.Empty(t, list(t, s.View(1), nil, nil))
}

func TestBatchLargerThanAMemTable(t *testing.T) {
	s := openMem(t, Options{MemTableBytes: 256 << 10})
	b := s.NewBatch()
	for i := range 100 {
		b.Set(1, fmt.Appendf(nil, "%03d", i), make([]byte, 10<<10))
	}
	require.NoError(t, b.Commit(false))
	put(t, s, 1, "after=1")
	assert.Len(t, list(t, s.View(1), nil, nil), 101)
}

func TestEmptyBatch(t *testing.T) {
	s := openMem(t, Options{})
	require.NoError(t, s.NewBatch().Commit(false))
	require.NoError(t, s.NewBatch().Commit(true))
	b := s.NewBatch()
	b.DeleteRange(1, []byte("b"), []byte("a"))
	require.NoError(t, b.Commit(true))
}

func TestReopenFindsEverything(t *testing.T) {
	for _, fs := range []string{"memory", "disk"} {
		t.Run(fs, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			o := Options{Dir: t.TempDir() + "/root/app", AppID: "app", KeyGroups: 8, Exchange: "topic"}
			if fs == "memory" {
				o.FS = MemFS()
			}
			s, err := Open(o)
			require.NoError(t, err)
			id := s.InstanceID()
			put(t, s, 1, "a=1")
			put(t, s, 1, "b=2")
			require.NoError(t, s.Close())

			s, err = Open(o)
			require.NoError(t, err)
			assert.Equal(t, id, s.InstanceID())
			assert.Equal(t, []string{"a=1", "b=2"}, list(t, s.View(1), nil, nil))
			require.NoError(t, s.Close())
		})
	}
}

func TestClosedStore(t *testing.T) {
	s, err := OpenMem(Options{})
	require.NoError(t, err)
	b := s.NewBatch()
	b.Set(1, []byte("k"), nil)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	_, _, err = s.View(1).Get([]byte("k"), nil)
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, s.View(1).Scan(nil, nil, nil), ErrClosed)
	require.ErrorIs(t, b.Commit(false), ErrClosed)
	b.Set(1, []byte("k"), nil)
	require.ErrorIs(t, b.Commit(true), ErrClosed)
	assert.Zero(t, s.Metrics())
}

// Close waits for calls under way, and calls from within one do not keep it from closing.
func TestCloseDuringScan(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s, err := OpenMem(Options{})
	require.NoError(t, err)
	put(t, s, 1, "a=1", "b=2")
	inScan, closing := make(chan struct{}), make(chan struct{})
	closed := make(chan error, 1)
	go func() {
		<-inScan
		go func() { closed <- s.Close() }()
		for !s.closing.Load() {
		}
		close(closing)
	}()
	var seen int
	require.NoError(t, s.View(1).Scan(nil, nil, func(_, _ []byte) error {
		if seen++; seen == 1 {
			close(inScan)
			<-closing
		}
		_, _, err := s.View(1).Get([]byte("a"), nil)
		assert.ErrorIs(t, err, ErrClosed)
		return nil
	}))
	assert.Equal(t, 2, seen)
	require.NoError(t, <-closed)
}

func TestManyGoroutines(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s, err := OpenMem(Options{})
	require.NoError(t, err)
	var wg sync.WaitGroup
	for p := range int32(8) {
		wg.Go(func() {
			for i := range 50 {
				put(t, s, p, fmt.Sprintf("%02d=%d", i, i))
				_, found, err := s.View(p).Get(fmt.Appendf(nil, "%02d", i), nil)
				assert.NoError(t, err)
				assert.True(t, found)
				assert.Len(t, list(t, s.View(p), nil, nil), i+1)
				s.Metrics()
			}
		})
	}
	wg.Wait()
	require.Eventually(t, func() bool { return s.Metrics().Commits == 8*50 }, waitLimit, tick)
	require.NoError(t, s.Close())
	assert.EqualValues(t, 8*50, s.Metrics().Commits, "the last metrics stay")
}

func TestMetrics(t *testing.T) {
	s := openMem(t, Options{})
	for i := range 100 { // several memtables
		put(t, s, 1, fmt.Sprintf("%03d=%s", i, strings.Repeat(fmt.Sprint(i), 5000)))
	}
	require.NoError(t, s.db.Flush())
	var m Metrics
	require.Eventually(t, func() bool { // a compaction in between takes what is cached with it
		list(t, s.View(1), nil, nil)
		m = s.Metrics()
		return m.CacheHits > 0 && m.CacheBytes > 0
	}, waitLimit, tick)
	assert.EqualValues(t, 100, m.Commits)
	assert.Positive(t, m.Flushes)
	assert.Positive(t, m.Tables)
	assert.Positive(t, m.ReadAmp)
	assert.Positive(t, m.DiskBytes)
	assert.Positive(t, m.MemTableBytes)
	assert.Positive(t, m.CacheMisses)
	assert.False(t, m.DiskFull)
}

func TestAbsentKeysAreFilteredOut(t *testing.T) {
	s := openMem(t, Options{})
	put(t, s, 1, "a=1", "c=3")
	require.NoError(t, s.db.Flush())
	_, found, err := s.View(1).Get([]byte("b"), nil)
	require.NoError(t, err)
	assert.False(t, found)
	assert.EqualValues(t, 1, s.db.Metrics().Filter.Hits)
}

func TestKillKeepsWhatWasWritten(t *testing.T) {
	o := Options{FS: MemFS()}
	s, err := OpenMem(o)
	require.NoError(t, err)
	put(t, s, 1, "a=1")
	require.NoError(t, s.NewBatch().Commit(true)) // what was committed is written now
	s.Kill()
	_, _, err = s.View(1).Get([]byte("a"), nil)
	require.ErrorIs(t, err, ErrClosed)
	assert.Equal(t, []string{"a=1"}, list(t, openMem(t, o).View(1), nil, nil))
}

// A batch that is committed without sync is written at once, not when 32 KiB have come together.
func TestCommitWithoutSyncReachesTheFile(t *testing.T) {
	o := Options{FS: MemFS(), Dir: "state"}
	s, err := OpenMem(o)
	require.NoError(t, err)
	put(t, s, 1, "a=a value that is easy to find")
	require.Eventually(t, func() bool { return inLog(t, o.FS, "a value that is easy to find") }, waitLimit, tick)
	s.Kill()
	assert.Equal(t, []string{"a=a value that is easy to find"}, list(t, openMem(t, o).View(1), nil, nil))
}

// inLog says whether a write-ahead log holds some bytes.
func inLog(t *testing.T, fs vfs.FS, text string) bool {
	names, err := fs.List("state/db")
	require.NoError(t, err)
	return slices.ContainsFunc(names, func(name string) bool {
		if !strings.HasSuffix(name, ".log") {
			return false
		}
		b, err := readFile(fs, "state/db/"+name)
		require.NoError(t, err)
		return strings.Contains(string(b), text)
	})
}
