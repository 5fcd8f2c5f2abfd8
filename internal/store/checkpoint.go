package store

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Copies of the database. A Checkpoint is one as of a moment, beside the database and sharing its tables (hard links), to
// be copied elsewhere. An Import is one that came from elsewhere, to be read, or to become the database of a new directory.
//
// Both are directories in the state directory that Open removes if a process left them behind. Their files are read and
// written as they are on the disk: encrypted, if the state is.

const (
	checkpointDir = "checkpoint"
	importPrefix  = "import-"
)

// Checkpoint is a copy of the database.
type Checkpoint struct {
	s     *Store
	dir   string
	Files []CopiedFile
}

// CopiedFile is a file of a copy of the database.
type CopiedFile struct {
	Name string // without directories
	Size int64
	Keys KeyRange // of a table
}

// KeyRange is which keys are in a table: the beginnings of the smallest and the largest, in hexadecimal. They say partition,
// kind, store and key group, and nothing of what the keys of the user are. Empty: not known.
type KeyRange struct {
	First string `json:"first,omitempty"`
	Last  string `json:"last,omitempty"`
}

// keyBeginning is how many bytes of a key stand before those of the user.
const keyBeginning = 2 + 1 + 4 + 2

// tables adds the tables of a database, by their files' names.
func tables(db *pebble.DB, to map[string]KeyRange) error {
	levels, err := db.SSTables()
	if err != nil {
		return fmt.Errorf("list the tables: %w", err)
	}
	beginning := func(key []byte) string { return hex.EncodeToString(key[:min(len(key), keyBeginning)]) }
	for _, level := range levels {
		for _, t := range level {
			to[fmt.Sprintf("%06d.sst", uint64(t.BackingSSTNum))] = KeyRange{beginning(t.Smallest.UserKey), beginning(t.Largest.UserKey)}
		}
	}
	return nil
}

// Checkpoint makes a copy of the database that holds every batch whose Commit has returned. There can be one at a time;
// Remove ends it.
func (s *Store) Checkpoint() (*Checkpoint, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	c := &Checkpoint{s: s, dir: s.path(checkpointDir)}
	if err := c.Remove(); err != nil {
		s.leave()
		return nil, err
	}
	done := make(chan error, 1)
	ranges := map[string]KeyRange{}
	go func() { // a goroutine that fails to write does not return; see guard
		defer s.leave()
		var err error
		defer func() { done <- err }()
		defer recovered(&err)
		for _, step := range []func() error{
			s.db.Flush, // what is in tables is copied once
			func() error { return tables(s.db, ranges) },
			func() error { return s.db.Checkpoint(c.dir, pebble.WithFlushedWAL()) },
			func() error { return tables(s.db, ranges) }, // those that a flush or a compaction has made meanwhile
		} {
			if err = step(); err != nil {
				return
			}
		}
	}()
	select {
	case <-s.guard.stalled:
		return nil, s.guard.err()
	case err := <-done:
		if err != nil {
			return nil, fmt.Errorf("copy the database in %s: %w", s.path("db"), err)
		}
	}
	names, err := s.raw.List(c.dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", c.dir, err)
	}
	for _, name := range names {
		info, err := s.raw.Stat(s.raw.PathJoin(c.dir, name))
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", name, err)
		}
		c.Files = append(c.Files, CopiedFile{Name: name, Size: info.Size(), Keys: ranges[name]})
	}
	return c, nil
}

// Open returns a file's bytes.
func (c *Checkpoint) Open(name string) (io.ReadCloser, error) {
	return c.s.raw.Open(c.s.raw.PathJoin(c.dir, name))
}

// Remove removes the copy.
func (c *Checkpoint) Remove() error {
	if err := c.s.raw.RemoveAll(c.dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", c.dir, err)
	}
	return nil
}

// removeCopies removes what a process that was killed left of copies.
func (s *Store) removeCopies() error {
	names, err := s.raw.List(s.opts.Dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", s.opts.Dir, err)
	}
	for _, name := range names {
		if name == checkpointDir || strings.HasPrefix(name, importPrefix) {
			if err := s.raw.RemoveAll(s.path(name)); err != nil {
				return fmt.Errorf("remove what is left of a copy of the database: %w", err)
			}
		}
	}
	return nil
}

// Import is a copy of a database from elsewhere. Until it is opened it is for one goroutine, but for Create.
type Import struct {
	// Layout is that of the database, to be set before the import becomes a seed.
	Layout Layout

	s      *Store
	dir    string
	reader *Store // once opened
}

// NewImport begins an import, with a name that no other import under way has.
func (s *Store) NewImport(name string) (*Import, error) {
	i := &Import{s: s, dir: s.path(importPrefix + name)}
	if err := s.raw.MkdirAll(i.dir, dirMode); err != nil {
		return nil, fmt.Errorf("make %s: %w", i.dir, err)
	}
	return i, nil
}

// Create adds a file; several may be written at the same time. The caller has made sure that the name has no directories in
// it. A full disk is an error here, not waited for.
func (i *Import) Create(name string) (io.WriteCloser, error) {
	return i.s.raw.Create(i.s.raw.PathJoin(i.dir, name), vfs.WriteCategoryUnspecified)
}

// Open opens the copy for reading. Every file must have been compared with what was copied: Pebble does not notice if
// some are damaged or missing.
func (i *Import) Open() error {
	r := &Store{opts: i.s.opts, fs: i.s.fs, raw: i.s.raw, guard: i.s.guard, idle: make(chan struct{}, 1)}
	r.buffers.New = func() any { return new(bounds) }
	r.cache = pebble.NewCache(8 << 20)
	o := r.pebbleOptions(r.fs, true)
	o.ReadOnly = true
	o.EventListener = &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}, BackgroundError: func(error) {}}
	fatal := make(chan error, 1)
	o.Logger = importLogger{pebbleLogger{i.s.opts.Logger, nil}, fatal}
	done := make(chan error, 1)
	go func() { // it does not come back from a fatal error
		err := errors.New("it ended without an answer")
		defer func() { done <- err }()
		defer recovered(&err)
		r.db, err = pebble.Open(i.dir, o)
	}()
	if err := <-done; err != nil {
		select {
		case err = <-fatal:
		default:
		}
		r.cache.Unref()
		return fmt.Errorf("%w: open the copy of a database in %s: %w", ErrDamaged, i.dir, err)
	}
	i.reader = r
	return nil
}

// importLogger ends the goroutine that opens a copy, instead of the process or the store that goes on beside it.
type importLogger struct {
	pebbleLogger
	fatal chan error
}

func (l importLogger) Fatalf(format string, args ...any) {
	select {
	case l.fatal <- fmt.Errorf(format, args...):
	default:
	}
	runtime.Goexit()
}

// View is the part of one partition, in a copy that was opened. It is of no use after Close.
func (i *Import) View(partition int32) View { return View{i.reader, partition} }

// Scan calls f for everything that views of the copy show, by partition and in the order of the keys. The slices are valid
// during the call only; an error of f ends the scan and is returned as it is.
func (i *Import) Scan(f func(partition int32, key, value []byte) error) (err error) {
	it, err := i.reader.db.NewIter(&pebble.IterOptions{UpperBound: partitionPrefix(maxPartition + 1)})
	if err != nil {
		return i.reader.readError(err)
	}
	defer func() {
		if cerr := it.Close(); cerr != nil && err == nil {
			err = i.reader.readError(cerr)
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return i.reader.readError(err)
		}
		if err := f(int32(binary.BigEndian.Uint16(it.Key())), it.Key()[2:], value); err != nil {
			return err
		}
	}
	return nil // it.Close has the error, if there was one
}

// Tables are the tables that the copy consists of, once it is open, by their files' names.
func (i *Import) Tables() (map[string]KeyRange, error) {
	list := map[string]KeyRange{}
	return list, tables(i.reader.db, list)
}

// Close ends the import and removes its files.
func (i *Import) Close() (err error) {
	return errors.Join(i.closeDB(), i.s.raw.RemoveAll(i.dir))
}

func (i *Import) closeDB() (err error) {
	if i.reader != nil {
		err = i.reader.db.Close()
		i.reader.cache.Unref()
		i.reader = nil
	}
	return err
}
