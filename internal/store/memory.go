package store

import (
	"errors"
	"math/rand/v2"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// This file is for tests: stores in memory, and what becomes of them when the process or the machine fails.

// MemFS returns a file system in memory.
func MemFS() vfs.FS { return vfs.NewMem() }

// CrashableFS returns a file system in memory that remembers what was synced, for Store.CrashClone. It is slower.
func CrashableFS() vfs.FS { return vfs.NewCrashableMem() }

// BlockCache is a block cache for stores that follow one another. Making one takes longer than all else that a test of a
// few records does.
type BlockCache struct{ c *pebble.Cache }

// NewBlockCache makes a cache, which is to be closed.
func NewBlockCache() *BlockCache { return &BlockCache{pebble.NewCache(1 << 20)} }

// Close gives up the cache; stores that have it still use it until they are closed.
func (b *BlockCache) Close() { b.c.Unref() }

// shared is the cache for one more store; nil if there is none.
func (b *BlockCache) shared() *pebble.Cache {
	if b == nil {
		return nil
	}
	b.c.Ref()
	return b.c
}

// OpenMem is Open with what a test leaves out: a file system in memory, a directory, one key group, small caches.
func OpenMem(o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = MemFS()
	}
	if o.Dir == "" {
		o.Dir = "state"
	}
	if o.AppID == "" {
		o.AppID = "test"
	}
	if o.KeyGroups == 0 {
		o.KeyGroups = 1
	}
	if o.Exchange == "" {
		o.Exchange = "memory"
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 1 << 20
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = 256 << 10
	}
	return Open(o)
}

// Kill ends the store as SIGKILL ends a process: at once, with everything on the file system that was written to it. The
// directory can be opened again. Goroutines of the store stay parked.
func (s *Store) Kill() {
	s.closeOnce.Do(func() {
		s.closing.Store(true)
		s.guard.abandon()
		s.guard.report.close()
		s.closeErr = ErrClosed
	})
}

// KillClone is Kill for a store on a CrashableFS that leaves no goroutine and no memory behind: it returns a copy of the
// file system as a killed process leaves it, with everything on it that was written, and closes the store.
func (s *Store) KillClone() (vfs.FS, error) {
	fs, ok := s.raw.(*vfs.MemFS)
	if !ok {
		return nil, errors.New("kill clone: the store is not on a crashable file system")
	}
	left := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	return left, s.Close()
}

// CrashClone opens what a loss of power would leave of the directory of s, which goes on undisturbed and must be on a
// CrashableFS: everything that was synced, and of every block and directory entry that was not, by chance, the given
// percentage. The same seed makes the same choices.
func (s *Store) CrashClone(unsyncedPercent int, seed uint64) (*Store, error) {
	fs, ok := s.raw.(*vfs.MemFS)
	if !ok {
		return nil, errors.New("crash clone: the store is not on a crashable file system")
	}
	o := s.opts
	o.FS = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsyncedPercent, RNG: rand.New(rand.NewPCG(seed, 0))})
	return Open(o)
}
