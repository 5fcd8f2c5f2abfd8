package store

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/uuid"
)

// formatVersion pins the format of Pebble's files: an update of the library must not raise it behind our back, since
// then the version before could not read the state any more. This one is the first with checksummed table footers.
// Raising it needs no new format of ours.
const formatVersion = pebble.FormatTableFormatV6

// memTables is how many memtables there may be before writers wait for a flush. Few large ones are better than many small
// ones: what is deleted soon dies in them, and a batch that is larger than half of one is sorted once more and flushed alone.
const memTables = 2

// compactAt is how many layers of flushed tables there may be before they are compacted. Keys come in no order, so that a
// compaction rewrites most of what lies below, however little is above; a look-up passes the layers by their filters.
const compactAt = 8

// backgroundErrors is how many background errors in a row, with no flush or compaction done between them, fail the store.
// Pebble repeats failed work at once and for ever.
const backgroundErrors = 100

// counters are kept beside Pebble's own metrics.
type counters struct {
	commits    atomic.Int64
	stalls     atomic.Int64
	background atomic.Int64 // background errors in a row
	logged     atomic.Int64 // when the last background error was logged, in Unix seconds
}

func (s *Store) pebbleOptions(fs vfs.FS, mustExist bool) *pebble.Options {
	o := &pebble.Options{
		FS:                          fs,
		FormatMajorVersion:          formatVersion,
		ErrorIfNotExists:            mustExist,
		Cache:                       s.cache,
		MemTableSize:                uint64(s.opts.MemTableBytes),
		MemTableStopWritesThreshold: memTables,
		L0StopWritesThreshold:       stopWrites,
		L0CompactionThreshold:       2 * compactAt, // Pebble counts a layer twice
		MaxOpenFiles:                1000,
		CompactionConcurrencyRange:  func() (int, int) { return 1, max(1, runtime.GOMAXPROCS(0)/2) },
		Logger:                      pebbleLogger{s.opts.Logger, s.guard},
		EventListener:               s.listener(),
	}
	// What L0 has when it is compacted is a few memtables; the level below may be some times as large before there is one more,
	// in which every look-up would have to look.
	o.LBaseMaxBytes = max(64<<20, 2*compactAt*s.opts.MemTableBytes)
	last := len(o.Levels) - 1
	for i := range o.Levels {
		o.Levels[i].IndexBlockSize = 64 << 10 // with one as large as a data block all but the smallest tables would have an index of the index
	}
	for i := range last {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10) // about 1 % false positives
	}
	// What is flushed is rewritten soon, so that compressing it is not worth it.
	o.Levels[0].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
	for i := range last {
		o.Levels[i+1].Compression = func() *sstable.CompressionProfile { return sstable.FastestCompression }
	}
	o.Levels[last].FilterPolicy = pebble.NoFilterPolicy // a Get would not use it there
	return o
}

// listener replaces what Pebble does by default with errors that happen in the background: to end the process.
func (s *Store) listener() *pebble.EventListener {
	done := func(err error) {
		if err == nil {
			s.stats.background.Store(0)
		}
	}
	return &pebble.EventListener{
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			s.guard.fail(fmt.Errorf("%w: %w: %s: file %s: %w: %s", ErrIO, ErrDamaged, s.opts.Dir, i.Path, i.Details, mendDamage))
		},
		BackgroundError: s.backgroundError,
		CompactionEnd:   func(i pebble.CompactionInfo) { done(i.Err) },
		FlushEnd:        func(i pebble.FlushInfo) { done(i.Err) },
		WriteStallBegin: func(pebble.WriteStallBeginInfo) { s.stats.stalls.Add(1) },
	}
}

func (s *Store) backgroundError(err error) {
	if now := time.Now().Unix(); s.stats.logged.Swap(now) != now {
		s.opts.Logger.Warn("the state database failed at work in the background, and tries again", "dir", s.opts.Dir, "error", err)
	}
	if s.stats.background.Add(1) >= backgroundErrors {
		s.guard.fail(fmt.Errorf("%w: %s: work in the background failed %d times in a row: %w: check the disk, then start the application again",
			ErrIO, s.opts.Dir, backgroundErrors, err))
	}
}

// pebbleLogger passes Pebble's messages on. Fatalf does not end the process, and does not return either, since Pebble
// would go on in a state that it does not know: it fails the store and parks the goroutine.
type pebbleLogger struct {
	log   *slog.Logger
	guard *guard
}

func (l pebbleLogger) Infof(format string, args ...any) {
	l.log.Debug(fmt.Sprintf(format, args...), "from", "pebble")
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.log.Error(fmt.Sprintf(format, args...), "from", "pebble")
}

func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.guard.fail(fmt.Errorf("%w: %s: %s", ErrIO, l.guard.dir, fmt.Sprintf(format, args...)))
	park()
}

// openDB opens the database on a goroutine of its own, because a goroutine that fails to write does not return.
func (s *Store) openDB(m *manifest) error {
	fs := &sealer{FS: s.guard, guard: s.guard, dir: s.opts.Dir}
	if m != nil && !m.seeded() { // of a seed every byte has just been compared
		known, err := s.checkSeal()
		if err != nil {
			return s.openError(err)
		}
		fs.seals = known
	}
	if s.cache = s.opts.Cache.shared(); s.cache == nil {
		// Pebble takes its memtables off the cache's size.
		s.cache = pebble.NewCache(s.opts.CacheBytes + memTables*s.opts.MemTableBytes)
	}
	type result struct {
		db  *pebble.DB
		err error
	}
	o := s.pebbleOptions(fs, m != nil)
	s.compactions = newCompactions()
	o.Experimental.CompactionScheduler = s.compactions
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() { done <- r }()
		defer recovered(&r.err)
		r.db, r.err = pebble.Open(s.path("db"), o)
	}()
	select {
	case <-s.guard.stalled:
		go func() { // else it would work on in the background
			if r := <-done; r.err == nil {
				s.db = r.db
				_ = s.shut()
			}
		}()
		return s.guard.err()
	case r := <-done:
		if r.err != nil {
			s.cache.Unref()
			return s.openError(r.err)
		}
		s.db = r.db
		s.compactions.begin(func() int32 { return r.db.Metrics().Levels[0].Sublevels })
		return nil
	}
}

func (s *Store) openError(err error) error {
	switch {
	case errors.Is(err, pebble.ErrDBDoesNotExist):
		return fmt.Errorf("%w: %s: manifest.json says that there is a database in %s, but it is missing or has lost its MANIFEST: %s",
			ErrDamaged, s.opts.Dir, s.path("db"), mendDamage)
	case errors.Is(err, ErrDamaged):
		return fmt.Errorf("%s: %w: %s", s.path("db"), err, mendDamage)
	case pebble.IsCorruptionError(err), errors.Is(err, os.ErrNotExist), errors.As(err, new(panicked)):
		return fmt.Errorf("%w: %s: open the database in %s: %w: %s", ErrDamaged, s.opts.Dir, s.path("db"), err, mendDamage)
	}
	return fmt.Errorf("open the database in %s: %w", s.path("db"), err)
}

// closeDB closes the database once all calls have ended and drain has returned. If the store has failed it is abandoned, and
// closed whenever that comes to pass: Pebble, closed under a call, may end the process.
func (s *Store) closeDB(drain func()) error {
	s.closing.Store(true)
	done := make(chan error, 1)
	go func() {
		for s.calls.Load() > 0 {
			<-s.idle
		}
		drain()
		done <- s.shut()
	}()
	select {
	case <-s.guard.stalled:
		return s.giveUp()
	case err := <-done:
		return err
	}
}

// shut closes the database, and does not return if that has to write and the store has failed. Of a store that has failed it
// ends what Pebble does in the background: a compaction that cannot read its files is repeated at once, and for ever.
func (s *Store) shut() (err error) {
	defer recovered(&err)
	err = s.db.Close()
	s.cache.Unref()
	if err != nil {
		return fmt.Errorf("close the database in %s: %w", s.path("db"), err)
	}
	return nil
}

// panicked is a panic of Pebble's.
type panicked struct{ value any }

func (p panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// recovered turns a panic of the deferring function into its error.
func recovered(err *error) {
	if v := recover(); v != nil {
		*err = panicked{v}
	}
}

// The store's own record in the database says which database this is. It is compared with the manifest at each opening,
// because Pebble makes a new database without a word when it does not find the old one. Its key lies behind those of all
// partitions.
var ownKey = append(partitionPrefix(maxPartition+1), "database"...)

// checkDB checks that the open database is the one that the manifest names.
func (s *Store) checkDB(id string) error {
	got, err := s.databaseID()
	if err != nil {
		return err
	}
	if got != id {
		return fmt.Errorf("%w: %s: manifest.json is about database %s, but the one in %s is %s: %s",
			ErrDamaged, s.opts.Dir, id, s.path("db"), orNone(got), mendDamage)
	}
	return nil
}

// adoptDB names the database of a directory without a manifest. It must be empty: Open ended early before, or this is
// the first time.
func (s *Store) adoptDB() (string, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{UpperBound: partitionPrefix(maxPartition + 1)})
	if err != nil {
		return "", fmt.Errorf("read the database in %s: %w", s.path("db"), err)
	}
	holds := it.First()
	if err := it.Close(); err != nil {
		return "", fmt.Errorf("read the database in %s: %w", s.path("db"), err)
	}
	if holds {
		return "", fmt.Errorf("%w: %s: manifest.json is missing, but the database holds state: restore the file, or %s",
			ErrDamaged, s.opts.Dir, mendDamage)
	}
	if id, err := s.databaseID(); id != "" || err != nil {
		return id, err
	}
	return s.nameDB()
}

// nameDB gives the database an id.
func (s *Store) nameDB() (string, error) {
	if err := s.enter(); err != nil {
		return "", err
	}
	id := uuid.NewString()
	done := make(chan error, 1)
	go func() { // a goroutine that fails to write does not return; see guard
		err := s.db.Set(ownKey, []byte(id), pebble.Sync)
		s.leave() // before the call returns: no call is under way then
		done <- err
	}()
	select {
	case err := <-done:
		return id, err
	case <-s.guard.stalled:
		return "", s.guard.err()
	}
}

func (s *Store) databaseID() (string, error) {
	v, closer, err := s.db.Get(ownKey)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("read the database in %s: %w", s.path("db"), err)
	}
	id := string(v)
	return id, closer.Close()
}

func orNone(id string) string {
	if id == "" {
		return "a new one"
	}
	return id
}
