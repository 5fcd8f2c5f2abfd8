package store

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// FS is a file system that a state directory can be on.
type FS = vfs.FS

// Options say whose state a store holds, where, and with how much memory.
type Options struct {
	Dir       string      // the state directory of this application; made if missing
	FS        FS          // where Dir is; nil: the disk
	AppID     string      // the application
	KeyGroups int         // into how many groups keys are divided; fixed when the directory is made
	Exchange  string      // "topic" or "memory"; fixed when the directory is made
	Stores    []StoreInfo // what the topology declares

	Keys Keys // encrypt what is on the disk

	// Seed is called if the directory holds no state: the copy that it returns becomes the database. Of the store it may use
	// Accepts, Unseal, InstanceID and NewImport. If it returns nil, as if it is nil, the state begins empty.
	Seed func(*Store) (*Import, error)

	Cache         *BlockCache // has blocks of other stores too; nil: one of its own, of CacheBytes
	CacheBytes    int64       // of the block cache; 64 MiB if 0
	MemTableBytes int64       // of one memtable, of which there are up to 2; 64 MiB if 0

	Logger *slog.Logger // nil: slog.Default

	// OnFault is called when the store fails (ErrIO, perhaps also ErrDamaged; at most once, every call returns the error
	// from then on) and each time the disk gets full (ErrDiskFull alone; writers wait). The calls come one after another,
	// from a goroutine of the store's. It may call the store.
	OnFault func(error)
	// OnRecover is called when the disk is not full any more.
	OnRecover func()
}

// StoreInfo describes one store of the topology. A directory whose recorded description differs is refused, because its
// bytes would be misread; only Subtopology may change, and what Evolves.
type StoreInfo struct {
	Name        string `json:"name"`
	Kind        string `json:"kind"`        // how its keys and values are laid out: "table", "window" …
	Key         string `json:"key"`         // name of the key codec
	Value       string `json:"value"`       // name of the value codec
	Subtopology string `json:"subtopology"` // which part of the topology it belongs to
	Window      string `json:"window"`      // kind and parameters of its windows, such as "hopping 1h0m0s/1m0s", or ""
	// Evolves: among its entries is which codecs have written the values, and who reads them sees to it that they can be
	// read. So Value may change.
	Evolves bool `json:"-"`
}

// Store is an open state directory. Its methods, and those of its views and of different batches, may be called from
// several goroutines at the same time.
type Store struct {
	opts     Options
	raw      vfs.FS // the file system below: what is on the disk
	fs       vfs.FS // unguarded: for the store's own files, which only Open writes
	guard    *guard
	db       *pebble.DB
	cache    *pebble.Cache
	instance string

	compactions *compactions // of db
	stats       counters

	commits chan commit // to the goroutine that applies batches
	syncs   chan commit // from it to the goroutine that waits until they are synced
	buffers sync.Pool   // of *bounds

	measuring atomic.Bool // Pebble is asked for its metrics
	measured  atomic.Pointer[Metrics]

	drained chan struct{} // closed when both have ended

	closing   atomic.Bool
	calls     atomic.Int64  // under way
	idle      chan struct{} // of capacity 1: told when the last call leaves while the store closes
	closeOnce sync.Once
	closeErr  error
}

// Open opens the state directory, and makes it if there is none. The error wraps one of this package's errors where a
// caller may want to tell it apart. While Open runs, a full disk is an error.
func Open(o Options) (*Store, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	fs := o.FS
	if fs == nil {
		if err := checkDir(o.Dir); err != nil {
			return nil, err
		}
		fs = disk{vfs.Default}
	}
	if err := makeDir(fs, o.Dir); err != nil {
		return nil, fmt.Errorf("make state directory %s: %w", o.Dir, err)
	}
	raw := fs
	if o.Keys.Current != nil {
		fs = &crypt{FS: raw, keys: o.Keys}
	}
	s := &Store{
		opts: o, raw: raw, fs: fs, guard: newGuard(fs, o.Dir, o.Logger, o.OnFault, o.OnRecover),
		commits: make(chan commit), syncs: make(chan commit, 64), drained: make(chan struct{}), idle: make(chan struct{}, 1),
	}
	s.buffers.New = func() any { return new(bounds) }
	err := s.open()
	if err == nil {
		err = s.guard.setDirect(false)
	}
	if err != nil {
		s.guard.abandon()
		s.guard.report.close()
		return nil, err
	}
	go s.apply()
	go s.awaitSyncs()
	return s, nil
}

// complete checks the options and fills in what is missing.
func (o *Options) complete() error {
	if o.Dir == "" {
		return errors.New("no state directory: set one")
	}
	if !validName(o.AppID) {
		return fmt.Errorf("application id %q: use 1 to 200 letters, digits, '.', '_' or '-', and not \".\" or \"..\"", o.AppID)
	}
	if o.KeyGroups < 1 {
		return fmt.Errorf("%d key groups: there must be at least one", o.KeyGroups)
	}
	if err := o.Keys.Check(); err != nil {
		return fmt.Errorf("keys of the state: %w", err)
	}
	seen := make(map[string]bool)
	for _, info := range o.Stores {
		if seen[info.Name] {
			return fmt.Errorf("two stores are named %q: rename one of them", info.Name)
		}
		seen[info.Name] = true
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 64 << 20
	}
	if o.MemTableBytes <= 0 {
		o.MemTableBytes = 64 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.OnFault == nil {
		o.OnFault = func(error) {} // the guard logs it, and every call returns it
	}
	if o.OnRecover == nil {
		o.OnRecover = func() {}
	}
	return nil
}

func validName(s string) bool {
	if len(s) < 1 || len(s) > 200 || s == "." || s == ".." {
		return false
	}
	for _, c := range []byte(s) {
		ok := c == '.' || c == '_' || c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !ok {
			return false
		}
	}
	return true
}

func (s *Store) open() error {
	if _, err := s.guard.Lock(s.path("LOCK")); err != nil {
		if isLocked(err) {
			return fmt.Errorf("%w: %s: another process, or another application in this one, has it open: "+
				"stop that one, or give each instance a directory of its own", ErrInUse, s.opts.Dir)
		}
		return fmt.Errorf("lock state directory %s: %w", s.opts.Dir, err)
	}
	if err := s.removeCopies(); err != nil {
		return err
	}
	if err := s.encryptAll(); err != nil {
		return err
	}
	var err error
	if s.instance, err = s.openInstanceID(); err != nil {
		return err
	}
	if err := s.dropSeed(); err != nil {
		return err
	}
	old, err := s.readManifest()
	if err != nil {
		return err
	}
	if old != nil {
		if err := s.checkManifest(old); err != nil {
			return err
		}
	} else if old, err = s.seed(); err != nil {
		return err
	}
	if err := s.openDB(old); err != nil {
		return err
	}
	if err := s.settle(old); err != nil {
		return errors.Join(err, s.closeDB(func() {}))
	}
	return nil
}

// settle makes sure that database and manifest belong together, and writes the manifest if it is new or has changed.
// The manifest is written last: as long as there is none, Open has not returned, and the database is empty or a seed.
func (s *Store) settle(old *manifest) error {
	var id string
	var err error
	switch {
	case old == nil:
		id, err = s.adoptDB()
	case old.seeded():
		id, err = s.nameDB()
	default:
		id, err = old.Database, s.checkDB(old.Database)
	}
	if err != nil {
		return err
	}
	next := s.nextManifest(old, id)
	if old != nil && next.equal(old) {
		return nil
	}
	if err := s.writeManifest(next); err != nil || !old.seeded() {
		return err
	}
	return s.keepSeed()
}

// isLocked says whether an error of vfs.FS.Lock means that the lock is held.
func isLocked(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || strings.Contains(err.Error(), "lock held by current process") ||
		strings.Contains(err.Error(), "used by another process") // Windows
}

func (s *Store) path(name string) string { return s.fs.PathJoin(s.opts.Dir, name) }

// InstanceID is the identity of this instance of the application: a UUID that was made with the directory and stays.
func (s *Store) InstanceID() string { return s.instance }

// Full says whether writers wait because the disk is full.
func (s *Store) Full() bool { return s.guard.diskFull() }

// enter begins a call: it keeps the database open until leave. It fails if the store is closed or faulted.
func (s *Store) enter() error {
	s.calls.Add(1)
	if s.closing.Load() {
		s.leave()
		return ErrClosed
	}
	select {
	case <-s.guard.stalled:
		s.leave()
		return s.guard.err()
	default:
		return nil
	}
}

func (s *Store) leave() {
	if s.calls.Add(-1) == 0 && s.closing.Load() {
		select {
		case s.idle <- struct{}{}:
		default:
		}
	}
}

// Close ends the store after the calls under way: they finish, later ones return ErrClosed. Everything that was committed
// is synced. A store that has failed, or whose disk is or gets full while it closes, is abandoned instead: Close returns
// the error at once, the directory can be opened again, and some memory stays in use until the process ends. Close may be
// called more than once.
func (s *Store) Close() error {
	s.closeOnce.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

func (s *Store) close() error {
	defer s.guard.report.close()
	s.guard.setDirect(true)
	err := s.closeDB(func() {
		close(s.commits)
		<-s.drained
	})
	s.guard.abandon() // gives up the lock
	return err
}

// giveUp abandons the database.
func (s *Store) giveUp() error {
	err := s.guard.err()
	s.guard.abandon()
	return err
}
