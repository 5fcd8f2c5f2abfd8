package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

const (
	waitLimit = 20 * time.Second // for what takes milliseconds, on a loaded machine
	tick      = time.Millisecond
)

// within fails the test if f does not return.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(waitLimit):
		require.FailNow(t, what+" did not return")
	}
}

// receive waits for what a callback reports.
func receive[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(waitLimit):
		require.FailNow(t, "no "+what)
		panic("unreachable")
	}
}

// reopen opens a directory whose last store was abandoned: its lock is free as soon as no write is under way.
func reopen(t *testing.T, o Options) *Store {
	t.Helper()
	var s *Store
	require.Eventually(t, func() bool {
		var err error
		s, err = OpenMem(o)
		if !errors.Is(err, ErrInUse) {
			require.NoError(t, err)
		}
		return err == nil
	}, waitLimit, tick)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

// The workload of the tests with faults and crashes: batch i of partition i%3 sets the key i and the counter. So a state
// is a prefix of what was committed if and only if the counter says n and the keys are 1 to n.

const workloadValue = 8 << 10 // some dozens of batches fill a memtable

func commitNumber(s *Store, i uint64, sync bool) error {
	b := s.NewBatch()
	n := binary.BigEndian.AppendUint64(nil, i)
	b.Set(int32(i%3), n, bytes.Repeat([]byte{byte(i)}, workloadValue))
	b.Set(9, []byte("counter"), n)
	return b.Commit(sync)
}

// checkPrefix returns how many batches the store holds.
func checkPrefix(t *testing.T, s *Store) uint64 {
	t.Helper()
	var n uint64
	v, found, err := s.View(9).Get([]byte("counter"), nil)
	require.NoError(t, err)
	if found {
		n = binary.BigEndian.Uint64(v)
	}
	var keys uint64
	for p := range int32(3) {
		require.NoError(t, s.View(p).Scan(nil, nil, func(k, v []byte) error {
			i := binary.BigEndian.Uint64(k)
			keys++
			if i < 1 || i > n || !bytes.Equal(v, bytes.Repeat([]byte{byte(i)}, workloadValue)) {
				return fmt.Errorf("batch %d of %d is torn", i, n)
			}
			return nil
		}))
	}
	require.Equal(t, n, keys, "not a prefix")
	return n
}

// The n-th operation of each kind fails. The process lives, the fault is reported once, calls return it, and the next
// Open finds a prefix of the batches with all that were synced.
func TestWriteFaults(t *testing.T) {
	for kind, is := range map[string]func(errorfs.Op) bool{
		"create": func(op errorfs.Op) bool { return op.Kind == errorfs.OpCreate },
		"reuse":  func(op errorfs.Op) bool { return op.Kind == errorfs.OpReuseForWrite },
		"rename": func(op errorfs.Op) bool { return op.Kind == errorfs.OpRename },
		"write":  func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileWrite },
		"sync": func(op errorfs.Op) bool {
			return op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
		},
		"write of a table": func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".sst") },
		"write of a MANIFEST": func(op errorfs.Op) bool {
			return op.Kind == errorfs.OpFileWrite && strings.Contains(op.Path, "MANIFEST")
		},
		"sync of a MANIFEST": func(op errorfs.Op) bool {
			return op.Kind == errorfs.OpFileSync && strings.Contains(op.Path, "MANIFEST")
		},
	} {
		t.Run(kind, func(t *testing.T) {
			faults := 0
			most := int32(30)
			if testing.Short() {
				most = 10
			}
			for n := int32(1); n <= most; n++ {
				if failNth(t, is, n) {
					faults++
				}
			}
			if kind == "reuse" || kind == "rename" {
				return // too rare in the workload to be sure of
			}
			assert.Positive(t, faults, "no operation of this kind was met")
		})
	}
}

// failNth says whether the workload met an n-th operation.
func failNth(t *testing.T, is func(errorfs.Op) bool, n int32) bool {
	mem := vfs.NewMem()
	var armed atomic.Bool
	var left atomic.Int32
	left.Store(n)
	broken := []error{syscall.EIO, syscall.EROFS, syscall.EMFILE}[n%3]
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if armed.Load() && is(op) && left.Add(-1) == 0 {
			return broken
		}
		return nil
	})
	reports := make(chan error, 10)
	o := Options{FS: mem, Dir: "state", MemTableBytes: 256 << 10, Logger: slog.New(slog.DiscardHandler)}
	bad := o
	bad.FS, bad.OnFault = errorfs.Wrap(mem, inject), func(err error) { reports <- err }
	s, err := OpenMem(bad)
	require.NoError(t, err)
	armed.Store(true)

	var err2 error
	var tried, synced uint64
	within(t, "the workload", func() {
		for i := uint64(1); i <= 120; i++ {
			tried = i
			if err2 = commitNumber(s, i, i%4 == 0); err2 != nil {
				return
			}
			if i%4 == 0 {
				synced = i
			}
		}
	})
	if err2 == nil {
		within(t, "Close", func() { err2 = s.Close() }) // may meet the fault too, and then returns it
	} else {
		require.ErrorIs(t, receive(t, "report", reports), broken)
		within(t, "calls after the fault", func() {
			_, _, err := s.View(1).Get([]byte("k"), nil)
			require.ErrorIs(t, err, broken)
			require.ErrorIs(t, s.View(1).Scan(nil, nil, nil), broken)
			require.ErrorIs(t, commitNumber(s, 1000, true), broken)
			s.Metrics()
			require.ErrorIs(t, s.Close(), broken)
		})
		assert.Empty(t, reports, "a fault is reported once")
	}
	if err2 != nil {
		require.ErrorIs(t, err2, ErrIO)
		require.ErrorIs(t, err2, broken)
		require.NotErrorIs(t, err2, ErrDiskFull)
		require.ErrorContains(t, err2, "state")
	}
	got := checkPrefix(t, reopen(t, o))
	assert.GreaterOrEqual(t, got, synced)
	assert.LessOrEqual(t, got, tried)
	return err2 != nil
}

// Every operation of Open fails in turn, those that only read too: Open returns an error that says so, or succeeds, and
// never hangs; and what was there is there afterwards.
func TestFaultsInOpen(t *testing.T) {
	for what, causes := range map[errorfs.OpReadWrite][]error{
		errorfs.OpIsWrite: {syscall.EIO, syscall.EROFS, syscall.EMFILE, syscall.ENOSPC},
		errorfs.OpIsRead:  {syscall.EIO, syscall.EMFILE},
	} {
		for _, cause := range causes {
			for _, fresh := range []bool{true, false} {
				n := int32(1)
				for openMeets(t, what, cause, fresh, n) {
					n++
				}
				if !fresh || what == errorfs.OpIsWrite {
					require.Greater(t, n, int32(5), "operations of Open")
				}
			}
		}
	}
}

// openMeets says whether Open and Close have an n-th operation, which fails.
func openMeets(t *testing.T, what errorfs.OpReadWrite, cause error, fresh bool, n int32) bool {
	mem := vfs.NewMem()
	o := Options{FS: mem, Dir: "state", Logger: slog.New(slog.DiscardHandler)}
	if !fresh {
		s, err := OpenMem(o)
		require.NoError(t, err)
		require.NoError(t, commitNumber(s, 1, true))
		require.NoError(t, s.Close())
	}
	var ops atomic.Int32
	bad := o
	bad.OnFault = func(err error) { assert.NoError(t, err, "Open returns it") }
	bad.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == what && ops.Add(1) == n {
			return cause
		}
		return nil
	}))
	var s *Store
	var err error
	within(t, "Open", func() { s, err = OpenMem(bad) })
	if err == nil {
		within(t, "Close", func() { err = s.Close() })
	}
	if err != nil { // what Pebble says in the end is a text, without the error
		require.ErrorContains(t, err, cause.Error())
	}
	s = reopen(t, o)
	if !fresh {
		require.EqualValues(t, 1, checkPrefix(t, s))
	}
	return ops.Load() >= n
}

func TestReadErrorsAreReturned(t *testing.T) {
	var bad atomic.Bool
	broken := errors.New("cannot read")
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if bad.Load() && op.Kind == errorfs.OpFileReadAt {
			return broken
		}
		return nil
	}))
	s := openMem(t, Options{FS: fs})
	put(t, s, 1, "a=1")
	require.NoError(t, s.db.Flush())
	bad.Store(true)
	_, _, err := s.View(1).Get([]byte("a"), nil)
	require.ErrorIs(t, err, broken)
	require.ErrorIs(t, s.View(1).Scan(nil, nil, func(_, _ []byte) error { return nil }), broken)
	bad.Store(false)
	assert.Equal(t, []string{"a=1"}, list(t, s.View(1), nil, nil))
}

// fullDisk lets no write pass while it is full, and of each write that is too much for it the first half.
type fullDisk struct {
	vfs.FS
	full atomic.Bool
}

func (d *fullDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if d.full.Load() {
		return nil, &os.PathError{Op: "create", Path: name, Err: syscall.ENOSPC}
	}
	f, err := d.FS.Create(name, c)
	if err != nil {
		return nil, err
	}
	return &fullFile{f, d}, nil
}

type fullFile struct {
	vfs.File
	disk *fullDisk
}

func (f *fullFile) Write(p []byte) (int, error) {
	if !f.disk.full.Load() {
		return f.File.Write(p)
	}
	n, err := f.File.Write(bytes.Clone(p[:len(p)/2]))
	if err == nil {
		err = &os.PathError{Op: "write", Err: syscall.ENOSPC}
	}
	return n, err
}

func TestDiskFull(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	mem := vfs.NewMem()
	disk := &fullDisk{FS: mem}
	faults, recovered := make(chan error, 100), make(chan struct{}, 100)
	o := Options{FS: mem, Dir: "state", Logger: slog.New(slog.DiscardHandler)}
	bad := o
	bad.FS, bad.OnFault, bad.OnRecover = disk, func(err error) { faults <- err }, func() { recovered <- struct{}{} }
	s, err := OpenMem(bad)
	require.NoError(t, err)
	next := uint64(1)
	for range 3 {
		require.NoError(t, commitNumber(s, next, true))
		next++
		disk.full.Store(true)
		done := make(chan error, 1)
		go func() {
			for range 300 { // more than the memtables hold
				if err := commitNumber(s, next, false); err != nil {
					done <- err
					return
				}
				next++
			}
			done <- nil
		}()
		err := receive(t, "report of a full disk", faults)
		require.ErrorIs(t, err, ErrDiskFull)
		require.NotErrorIs(t, err, ErrIO)
		require.ErrorContains(t, err, "state directory state")
		within(t, "Metrics", func() { assert.True(t, s.Metrics().DiskFull) })
		_, _, err = s.View(9).Get([]byte("counter"), nil)
		require.NoError(t, err, "reads go on")
		select {
		case err := <-done:
			require.FailNow(t, "the writer was not held up", "%v", err)
		case <-recovered:
			require.FailNow(t, "there is no space yet")
		default:
		}
		disk.full.Store(false)
		receive(t, "report of space", recovered)
		require.NoError(t, receive(t, "end of the writer", done))
	}
	assert.False(t, s.Metrics().DiskFull)
	require.NoError(t, s.Close())
	s, err = OpenMem(o)
	require.NoError(t, err)
	assert.Equal(t, next-1, checkPrefix(t, s))
	require.NoError(t, s.Close())
}

func TestCloseWhileDiskIsFull(t *testing.T) {
	mem := vfs.NewMem()
	disk := &fullDisk{FS: mem}
	faults := make(chan error, 100)
	o := Options{FS: mem, Dir: "state", Logger: slog.New(slog.DiscardHandler)}
	bad := o
	bad.FS, bad.OnFault = disk, func(err error) { faults <- err }
	s, err := OpenMem(bad)
	require.NoError(t, err)
	require.NoError(t, commitNumber(s, 1, true))
	disk.full.Store(true)
	blocked := make(chan error, 1)
	go func() { blocked <- commitNumber(s, 2, true) }()
	require.ErrorIs(t, receive(t, "report of a full disk", faults), ErrDiskFull)
	within(t, "Close", func() { require.ErrorIs(t, s.Close(), ErrDiskFull) })
	require.ErrorIs(t, receive(t, "end of the writer", blocked), ErrDiskFull)
	disk.full.Store(false)
	assert.EqualValues(t, 1, checkPrefix(t, reopen(t, o)))
}

// A sync that fails for want of space may have lost pages: it must not be tried again.
func TestFullDiskInSyncIsAFault(t *testing.T) {
	var full atomic.Bool
	var syncs atomic.Int32
	faults := make(chan error, 10)
	s, err := OpenMem(Options{
		FS: errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if full.Load() && op.Kind == errorfs.OpFileSyncData {
				syncs.Add(1)
				return syscall.ENOSPC
			}
			return nil
		})),
		Logger: slog.New(slog.DiscardHandler), OnFault: func(err error) { faults <- err },
	})
	require.NoError(t, err)
	full.Store(true)
	within(t, "Commit", func() {
		err := commitNumber(s, 1, true)
		require.ErrorIs(t, err, ErrIO)
		require.ErrorIs(t, err, ErrDiskFull)
	})
	require.ErrorIs(t, receive(t, "report", faults), ErrIO)
	require.ErrorIs(t, s.Close(), ErrIO)
	assert.EqualValues(t, 1, syncs.Load())
}

// OnFault may close the store, from which the failing goroutine does not return.
func TestCloseInOnFault(t *testing.T) {
	var bad atomic.Bool
	broken, closed := errors.New("input/output error"), make(chan error, 1)
	var s *Store
	o := Options{
		FS: errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if bad.Load() && op.Kind == errorfs.OpFileWrite {
				return broken
			}
			return nil
		})),
		Logger:  slog.New(slog.DiscardHandler),
		OnFault: func(error) { closed <- s.Close() },
	}
	s, err := OpenMem(o)
	require.NoError(t, err)
	bad.Store(true)
	require.ErrorIs(t, commitNumber(s, 1, true), broken)
	require.ErrorIs(t, receive(t, "end of Close", closed), broken)
}

// A full disk is logged at most once per second, reported once, and its end once, however many writers wait.
func TestFullDiskIsReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log syncBuffer
		var faults, recovers int
		g := newGuard(vfs.NewMem(), "dir", slog.New(slog.NewTextHandler(&log, nil)),
			func(error) { faults++ }, func() { recovers++ })
		defer g.report.close()
		require.NoError(t, g.setDirect(false))
		begin := time.Now()
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				g.retry("write", "f", func() error {
					if time.Since(begin) < time.Duration(10+i)*time.Second {
						return syscall.ENOSPC
					}
					return nil
				})
			})
		}
		synctest.Wait()
		assert.Equal(t, 1, faults, "at once")
		wg.Wait()
		synctest.Wait()
		assert.Less(t, time.Since(begin), 12*time.Second+lastRetry+time.Millisecond)
		assert.Equal(t, 1, faults)
		assert.Equal(t, 1, recovers)
		lines := strings.Count(log.String(), "is full")
		assert.LessOrEqual(t, lines, 13)
		assert.GreaterOrEqual(t, lines, 8)
	})
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// What makes Pebble end the process by default fails the store instead.
func TestPebbleCannotEndTheProcess(t *testing.T) {
	for name, provoke := range map[string]func(*Store){
		"Fatalf": func(s *Store) {
			go func() {
				pebbleLogger{s.opts.Logger, s.guard}.Fatalf("cannot go on: %d", 1)
				t.Error("Fatalf returned, and Pebble would go on")
			}()
		},
		"background errors": func(s *Store) {
			for range backgroundErrors - 1 {
				s.backgroundError(errors.New("cannot go on: 1"))
			}
			require.NoError(t, s.guard.err(), "Pebble tries again")
			s.backgroundError(errors.New("cannot go on: 1"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			faults := make(chan error, 1)
			s, err := OpenMem(Options{Logger: slog.New(slog.DiscardHandler), OnFault: func(err error) { faults <- err }})
			require.NoError(t, err)
			provoke(s)
			err = receive(t, "report", faults)
			require.ErrorIs(t, err, ErrIO)
			require.ErrorContains(t, err, "cannot go on: 1")
			require.ErrorIs(t, commitNumber(s, 1, false), ErrIO)
			require.ErrorIs(t, s.Close(), ErrIO)
		})
	}
}

// A file is to be used again and there is no space, after the old one is gone: it is tried again, and becomes a new one.
func TestReuseWithoutSpace(t *testing.T) {
	mem := vfs.NewMem()
	f, err := mem.Create("old", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	full := true
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate && full {
			full = false
			return syscall.ENOSPC
		}
		return nil
	}))
	c := &crypt{FS: fs, keys: Keys{Current: testKey(1)}}
	faults := make(chan error, 10)
	g := newGuard(c, "state", slog.New(slog.DiscardHandler), func(err error) { faults <- err }, func() {})
	require.NoError(t, g.setDirect(false))
	within(t, "the second attempt", func() {
		f, err = g.ReuseForWrite("old", "new", vfs.WriteCategoryUnspecified)
	})
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.False(t, full)
	_, err = mem.Stat("new")
	require.NoError(t, err)
	require.ErrorIs(t, receive(t, "report", faults), ErrDiskFull)
	require.Empty(t, faults)
}
