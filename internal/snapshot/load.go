package snapshot

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/millstream-go/millstream/internal/store"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/snapshot"
)

// Loader brings tasks back from the snapshots of all instances. Its methods may be called from several goroutines.
type Loader struct {
	Config snapshot.Config
	App    string
	Store  *store.Store
	Log    *slog.Logger

	mu        sync.Mutex
	listed    time.Time
	manifests map[string]*Manifest // by name; nil: it cannot be used
	copies    map[string]*fetched
}

// fetched is a snapshot that was fetched, for all tasks that need it at the time.
type fetched struct {
	once  sync.Once
	copy  *store.Import
	bytes int64
	err   error
	users int
}

// How long a list of snapshots is good, and by how many changelog positions a snapshot must be ahead of a good local
// copy to be worth fetching.
const (
	listFor  = 30 * time.Second
	worthIts = 1 << 20
)

// Wanted is a task that needs its state.
type Wanted struct {
	Task  *task.Task
	Local int64         // the changelog position that a good local copy reaches up to; -1: there is none
	End   int64         // of the changelog; -1: not known
	Fresh time.Duration // a state that was last written longer ago is not used
	Wipe  func() error  // deletes the task's part of the store
}

// Loaded is what was brought back.
type Loaded struct {
	Snapshot string // "": nothing that would help was found
	Next     int64
	Age      task.Age // of the store, where all of it was brought back
	Bytes    int64    // of the snapshot's files
	Entries  int
}

// Load puts the newest state of a task that the snapshots hold into the store, if that is newer than what is there. An
// error is about the local store, or ctx: what is wrong with snapshots is logged, and an older one is taken, or none.
func (l *Loader) Load(ctx context.Context, w Wanted, now time.Time) (Loaded, error) {
	type candidate struct {
		name string
		Task
	}
	var list []candidate
	spec := w.Task.Spec
	for name, m := range l.refresh(ctx) {
		if t, ok := m.task(spec.Subtopology, w.Task.Partition, spec.Changelog); ok && now.Sub(t.Written) < w.Fresh {
			list = append(list, candidate{name, t})
		}
	}
	slices.SortFunc(list, func(a, b candidate) int { return cmp.Or(cmp.Compare(b.Next, a.Next), cmp.Compare(b.name, a.name)) })
	for _, c := range list {
		switch {
		case w.Local >= 0 && c.Next < w.Local+worthIts:
			return Loaded{}, nil
		case w.End >= 0 && c.Next > w.End:
			l.Log.Warn("snapshot is not used: it is ahead of the changelog, which was recreated or has lost records", "snapshot", c.name, "task", w.Task.ID(), "changelog position", c.Next, "end", w.End)
			continue
		}
		loaded, err := l.from(ctx, c.name, w)
		var bad *unusable
		if errors.As(err, &bad) {
			l.Log.Warn("snapshot cannot be used; trying the one before", "snapshot", c.name, "task", w.Task.ID(), "err", err)
			continue
		}
		return loaded, err
	}
	return Loaded{}, ctx.Err()
}

// unusable is what is wrong with a snapshot, not with the local store.
type unusable struct{ error }

func (e *unusable) Unwrap() error { return e.error }

// refresh returns the manifests that can be used.
func (l *Loader) refresh(ctx context.Context) map[string]*Manifest {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.manifests == nil || time.Since(l.listed) > listFor {
		objects, err := l.Config.Store.List(ctx, l.Config.Prefix+l.App+"/")
		if err != nil {
			l.Log.Warn("snapshots cannot be listed; restoring without", "err", err)
		} else {
			l.listed = time.Now()
		}
		known := l.manifests
		l.manifests = map[string]*Manifest{}
		for _, o := range objects {
			if _, _, _, ok := manifestNumber(o.Name); !ok {
				continue
			}
			m, seen := known[o.Name]
			if !seen {
				if m, err = read(ctx, l.Config.Store, l.Store, o.Name); err == nil {
					err = l.Store.Accepts(m.Layout)
				}
				if err != nil {
					m = nil
					l.Log.Warn("snapshot cannot be used", "snapshot", o.Name, "err", err)
				}
			}
			l.manifests[o.Name] = m
		}
	}
	usable := map[string]*Manifest{}
	for name, m := range l.manifests {
		if m != nil {
			usable[name] = m
		}
	}
	return usable
}

// from copies a task's entries out of a snapshot.
func (l *Loader) from(ctx context.Context, name string, w Wanted) (loaded Loaded, err error) {
	l.mu.Lock()
	m := l.manifests[name]
	if m == nil {
		l.mu.Unlock()
		return loaded, &unusable{fmt.Errorf("%w: it failed another task", ErrDamaged)}
	}
	if l.copies == nil {
		l.copies = map[string]*fetched{}
	}
	f := l.copies[name]
	if f == nil {
		f = &fetched{}
		l.copies[name] = f
	}
	f.users++
	l.mu.Unlock()
	defer func() {
		if cerr := l.leave(name, f); err == nil {
			err = cerr
		}
	}()
	f.once.Do(func() { f.copy, f.bytes, f.err = l.fetch(ctx, name, m) })
	if f.err != nil {
		if ctx.Err() == nil {
			l.condemn(name)
		}
		return loaded, &unusable{f.err}
	}
	loaded = Loaded{Snapshot: name, Bytes: f.bytes}
	loaded.Next, loaded.Entries, err = l.copy(f.copy, w)
	return loaded, err
}

// condemn says that a snapshot cannot be used.
func (l *Loader) condemn(name string) {
	l.mu.Lock()
	l.manifests[name] = nil
	l.mu.Unlock()
}

// leave closes a copy that nobody uses.
func (l *Loader) leave(name string, f *fetched) error {
	l.mu.Lock()
	f.users--
	last := f.users == 0
	if last {
		delete(l.copies, name)
	}
	l.mu.Unlock()
	if !last || f.copy == nil {
		return nil
	}
	return f.copy.Close()
}

// fetch copies a snapshot's files to the disk, compares every byte, and opens the database.
func (l *Loader) fetch(ctx context.Context, name string, m *Manifest) (imp *store.Import, size int64, err error) {
	imp, err = l.Store.NewImport(uuid.NewString())
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, imp.Close())
			imp = nil
		}
	}()
	if err := l.fetchFiles(ctx, imp, name, m); err != nil {
		return imp, 0, err
	}
	for _, f := range m.Files {
		size += f.Size
	}
	imp.Layout = m.Layout
	if err := imp.Open(); err != nil {
		return imp, size, err
	}
	return imp, size, compareTables(imp, m)
}

// streams is how many files are fetched at a time.
const streams = 4

// fetchFiles copies all files of a snapshot.
func (l *Loader) fetchFiles(ctx context.Context, imp *store.Import, name string, m *Manifest) error {
	dir, _, _, _ := manifestNumber(name)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	files := make(chan File)
	var running sync.WaitGroup
	for range min(streams, len(m.Files)) {
		running.Go(func() {
			for f := range files {
				if err := l.fetchFile(ctx, imp, fileName(dir, f.SHA256), f); err != nil {
					cancel(err) // the first one counts
				}
			}
		})
	}
	for _, f := range m.Files {
		files <- f // after an error they fail at once
	}
	close(files)
	running.Wait()
	return context.Cause(ctx)
}

// compareTables finds out whether a database consists of the tables that the manifest says.
func compareTables(imp *store.Import, m *Manifest) error {
	have, err := imp.Tables()
	if err != nil {
		return err
	}
	for _, f := range m.Files {
		if keys, ok := have[f.Name]; ok && f.KeyRange != (store.KeyRange{}) && keys != f.KeyRange { // older manifests have no ranges
			return fmt.Errorf("%w: table %s has keys from %s to %s instead of %s to %s", ErrDamaged, f.Name, keys.First, keys.Last, f.First, f.Last)
		}
		delete(have, f.Name)
	}
	for name := range have {
		return fmt.Errorf("%w: the database has a table %s that is not in the manifest", ErrDamaged, name)
	}
	return nil
}

func (l *Loader) fetchFile(ctx context.Context, imp *store.Import, object string, f File) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var r io.ReadCloser = io.NopCloser(bytes.NewReader(nil))
	var err error
	if f.Size > 0 {
		r, err = l.Config.Store.Open(ctx, object)
	}
	if errors.Is(err, snapshot.ErrNotFound) {
		return fmt.Errorf("%w: file %s (%s): %w", ErrDamaged, f.Name, object, err)
	}
	if err != nil {
		return fmt.Errorf("fetch %s (%s): %w", f.Name, object, err)
	}
	out, err := imp.Create(f.Name)
	if err != nil {
		return errors.Join(err, r.Close())
	}
	h := sha256.New()
	n, err := copyTo(ctx, out, h, io.LimitReader(r, f.Size+1))
	if err = errors.Join(err, r.Close(), out.Close()); err != nil {
		return fmt.Errorf("fetch %s (%s): %w", f.Name, object, err)
	}
	if n > f.Size {
		return fmt.Errorf("%w: file %s (%s) has more than %d bytes", ErrDamaged, f.Name, object, f.Size)
	}
	if n < f.Size {
		return fmt.Errorf("%w: file %s (%s) has %d bytes of %d", ErrDamaged, f.Name, object, n, f.Size)
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != f.SHA256 {
		return fmt.Errorf("%w: file %s (%s) has the SHA-256 %s instead of %s", ErrDamaged, f.Name, object, sum, f.SHA256)
	}
	return nil
}

// copyTo copies and sums up. The file may change what it is given, so the sum comes first.
func copyTo(ctx context.Context, w io.Writer, sum io.Writer, r io.Reader) (n int64, err error) {
	buf := make([]byte, 256<<10)
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		k, err := r.Read(buf)
		if k > 0 {
			n += int64(k)
			_, _ = sum.Write(buf[:k]) // a hash does not fail
			if _, werr := w.Write(buf[:k]); werr != nil {
				return n, werr
			}
		}
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// batchBytes is how much is put into the store at once.
const batchBytes = 4 << 20

// copy puts a task's entries into the store. The position is the last: a process that is killed before leaves one that
// says that nothing of it is good.
func (l *Loader) copy(from *store.Import, w Wanted) (next int64, entries int, err error) {
	part, sub := w.Task.Partition, w.Task.Spec.Subtopology
	view := from.View(part)
	val, found, err := view.Get(task.LocalKey(sub), nil)
	if err != nil || !found {
		return 0, 0, &unusable{fmt.Errorf("%w: it does not hold the task (found: %v): %w", ErrDamaged, found, cmp.Or(err, errors.New("no position")))}
	}
	local, err := task.DecodeLocal(val)
	if err != nil {
		return 0, 0, &unusable{fmt.Errorf("%w: %w", ErrDamaged, err)}
	}
	if err := w.Wipe(); err != nil {
		return 0, 0, err
	}
	b := l.Store.NewBatch()
	b.Set(part, task.LocalKey(sub), task.AppendLocal(nil, task.Local{}))
	put := func(key, value []byte) error {
		b.Set(part, key, value)
		entries++
		if b.Len() < batchBytes {
			return nil
		}
		return b.Commit(false)
	}
	for _, r := range w.Task.Ranges() {
		if err := view.Scan(r.Lo, r.Hi, put); err != nil {
			return 0, 0, err
		}
	}
	if marker, found, err := view.Get(task.MarkerKey(sub), nil); err != nil {
		return 0, 0, err
	} else if found {
		b.Set(part, task.MarkerKey(sub), marker)
	}
	b.Set(part, task.LocalKey(sub), val)
	return local.Next.Offset(), entries, b.Commit(false)
}
