package store

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Pebble ends the process when a write fails: it calls Fatalf, often on a goroutine of its own, and if Fatalf returns or
// panics instead, Pebble's locks are left in a state for which the Go runtime ends the process. When the disk is full it
// repeats its failing background work in a hot loop and tells nobody.
//
// So Pebble never sees a write fail. The guard stands between Pebble and the file system, and every operation that
// changes the disk goes through it:
//
//   - An error other than "no space" is recorded, reported once, and the goroutine that met it is parked: it waits for
//     ever, inside what it believes to be a slow write. From then on every further write of this database parks too, so
//     that nothing changes on the disk after the failure. Calls of the store do not wait for parked goroutines, they
//     return the recorded error. The parked goroutines, and the memory of the database they belong to, stay until the
//     process ends: that is the price of not being ended by Pebble.
//   - "No space" is waited out: the writer tries again after a while, and goes on as if nothing had happened when there
//     is space. Beginning and end are reported. A failed sync is never tried again, not even if it failed for want of
//     space: the kernel may have dropped the pages that it could not write, and the next sync would succeed without them.
//   - Errors of reading and of removing files are returned. Pebble deals with those.
//
// A store that is abandoned (closed after a fault or during a full disk) parks all its writers, and gives up its file
// locks as soon as none of them is in the kernel. A new store can then be opened on the directory: the old one cannot
// write to it any more.
type guard struct {
	vfs.FS // what is guarded; operations that only read go straight to it
	dir    string
	log    *slog.Logger
	report *reporter

	onFault   func(error)
	onRecover func()
	stalled   chan struct{} // closed at the first failure, and when the store is abandoned: nobody may wait for a writer

	mu      sync.Mutex
	direct  bool  // a caller waits in Open or Close: it gets the failure, a full disk included, and no report is made
	fault   error // the first failure; it stays
	gone    bool  // abandoned
	writing int   // operations in the kernel
	blocked int   // writers that wait for space
	locks   []*heldLock
	logged  time.Time // of the last line about a full disk
}

// How long a writer waits before it looks again whether there is space.
const (
	firstRetry = 10 * time.Millisecond
	lastRetry  = 250 * time.Millisecond
)

func newGuard(fs vfs.FS, dir string, log *slog.Logger, onFault func(error), onRecover func()) *guard {
	return &guard{
		FS: fs, dir: dir, log: log, report: newReporter(), onFault: onFault, onRecover: onRecover,
		stalled: make(chan struct{}), direct: true,
	}
}

// setDirect says whether a caller waits in Open or Close. It returns the failure, if there was one.
func (g *guard) setDirect(direct bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.direct = direct
	return g.fault
}

// err returns the error with which calls of the store return, or nil as long as the database can be written.
func (g *guard) err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.fault != nil:
		return g.fault
	case g.gone:
		return ErrClosed
	}
	return nil
}

// fail records the first failure and reports it. Later ones are consequences, and are not reported.
func (g *guard) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fault != nil || g.gone {
		return
	}
	g.fault = err
	close(g.stalled)
	if g.direct {
		return
	}
	g.log.Error("the state store failed; it is not written any more", "dir", g.dir, "error", err)
	g.report.do(func() { g.onFault(err) })
}

// abandon parks all writers and gives up the file locks when none is in the kernel.
func (g *guard) abandon() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return
	}
	if g.fault == nil {
		close(g.stalled)
	}
	g.gone = true
	g.unlockIfGone()
}

// diskFull says whether a writer waits for space.
func (g *guard) diskFull() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.blocked > 0
}

// park blocks for ever. See guard.
func park() { select {} }

// begin counts an operation that changes the disk, or parks when there are to be none.
func (g *guard) begin() {
	g.mu.Lock()
	if g.fault != nil || g.gone {
		g.mu.Unlock()
		park()
	}
	g.writing++
	g.mu.Unlock()
}

func (g *guard) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.writing--
	g.unlockIfGone()
}

func (g *guard) unlockIfGone() {
	if !g.gone || g.writing > 0 {
		return
	}
	for _, l := range g.locks {
		_ = l.Close() // the process loses the lock one way or the other
	}
	g.locks = nil
}

// try does an operation whose error the caller can deal with.
func (g *guard) try(op func() error) error {
	g.begin()
	defer g.end()
	return op()
}

// once does an operation that is not tried again. It returns only if it succeeds.
func (g *guard) once(what, name string, op func() error) {
	if err := g.try(op); err != nil {
		g.fail(g.ioError(what, name, err))
		park()
	}
}

// retry does an operation, and again while the disk is full. It returns only if it succeeds. The operation must be one
// that can be repeated.
func (g *guard) retry(what, name string, op func() error) {
	waiting, wait := false, firstRetry
	for {
		err := g.try(op)
		switch {
		case err == nil:
			if waiting {
				g.foundSpace()
			}
			return
		case !isNoSpace(err) || !g.noSpace(err, what, name, &waiting):
			g.fail(g.ioError(what, name, err))
			park()
		}
		select {
		case <-time.After(wait):
			wait = min(2*wait, lastRetry)
		case <-g.stalled:
			park()
		}
	}
}

func (g *guard) ioError(what, name string, err error) error {
	kind, mend := ErrIO, "check the disk, then start the application again: it continues from what was committed before"
	if isNoSpace(err) {
		mend = "free some space, then start the application again: it continues from what was committed before"
		return fmt.Errorf("%w: %w: %s: %s %s: %w: %s", kind, ErrDiskFull, g.dir, what, name, err, mend)
	}
	return fmt.Errorf("%w: %s: %s %s: %w: %s", kind, g.dir, what, name, err, mend)
}

// noSpace notes that an operation found no space. It says whether to wait for it.
func (g *guard) noSpace(err error, what, name string, waiting *bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.direct {
		return false
	}
	if now := time.Now(); now.Sub(g.logged) >= time.Second {
		g.logged = now
		g.log.Warn("the disk of the state directory is full; writers wait for space", "dir", g.dir, "operation", what, "file", name)
	}
	if *waiting {
		return true
	}
	*waiting = true
	g.blocked++
	if g.blocked == 1 && g.fault == nil && !g.gone {
		full := fmt.Errorf("%w: state directory %s: %s %s: %w: writers wait until space is freed, and then go on by themselves",
			ErrDiskFull, g.dir, what, name, err)
		g.report.do(func() { g.onFault(full) })
	}
	return true
}

// foundSpace notes that an operation that had waited for space is through. When the last one is, the disk is not full
// any more.
func (g *guard) foundSpace() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.blocked--
	if g.blocked > 0 || g.fault != nil || g.gone {
		return
	}
	g.log.Info("the disk of the state directory has space again", "dir", g.dir)
	g.report.do(g.onRecover)
}

// isNoSpace says whether an error is for want of disk space, or of quota.
func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
