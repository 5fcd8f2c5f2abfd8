package snapshot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/millstream-go/millstream/internal/store"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/snapshot"
)

// Writer makes the snapshots of one instance. It is for one goroutine at a time.
type Writer struct {
	Config   snapshot.Config
	App      string
	Instance string
	Store    *store.Store
	Log      *slog.Logger
	Term     *Term // in which snapshots of the whole store are made

	sums map[string]File // of tables that were copied before: their names are not used twice
	// published are the snapshots of this instance that there may be, whatever the store lists: those that were listed once, and
	// those whose publication was tried.
	published map[string]bool
}

// abandoned is how long after its last snapshot the folder of another instance is taken to be left for good. Its
// snapshots have been of no use for much longer.
const abandoned = 7 * 24 * time.Hour

// Take makes a snapshot that holds these tasks, and deletes what is not needed any more.
func (w *Writer) Take(ctx context.Context, tasks []Task, now time.Time) (*Manifest, error) {
	return w.take(ctx, &Manifest{Tasks: tasks}, now)
}

// TakeAll makes a snapshot of a store that is of use as a whole only, and at least so new. It returns ErrSuperseded if a later
// term has begun.
func (w *Writer) TakeAll(ctx context.Context, age task.Age, now time.Time) (*Manifest, error) {
	return w.take(ctx, &Manifest{Age: &age}, now)
}

func (w *Writer) take(ctx context.Context, m *Manifest, now time.Time) (_ *Manifest, err error) {
	begin := time.Now()
	c, err := w.Store.Checkpoint()
	if err != nil {
		return nil, fmt.Errorf("make snapshot: %w", err)
	}
	defer func() {
		if rerr := c.Remove(); err == nil {
			err = rerr
		}
	}()
	dir := folder(w.Config.Prefix, w.App, w.Instance)
	have, err := w.list(ctx, dir)
	if err != nil {
		return nil, err
	}
	m.Format, m.Instance, m.Created, m.Layout = format, w.Instance, now.UTC(), w.Store.Layout()
	sums := map[string]File{}
	sent := int64(0)
	for _, f := range c.Files {
		if f.Name == "LOCK" {
			continue
		}
		file, err := w.sum(c, f)
		if err != nil {
			return nil, err
		}
		sums[f.Name] = file
		m.Files = append(m.Files, file)
		n, err := w.send(ctx, c, file, dir, have)
		if err != nil {
			return nil, fmt.Errorf("make snapshot: copy %s: %w", f.Name, err)
		}
		sent += n
	}
	w.sums = sums
	// Look again before it counts: a store may say that all went well, and have lost something.
	if have, err = w.list(ctx, dir); err != nil {
		return nil, err
	}
	for _, f := range m.Files {
		if size, ok := have[fileName(dir, f.SHA256)]; f.Size > 0 && (!ok || size != f.Size) {
			return nil, fmt.Errorf("make snapshot: %s was copied, but the store does not have it as it should be (there: %v, %d bytes of %d)", f.Name, ok, size, f.Size)
		}
	}
	for name := range have {
		if _, _, n, ok := manifestNumber(name); ok {
			m.Number = max(m.Number, n+1)
		}
	}
	if m.Age != nil {
		if err := w.Term.Check(ctx); err != nil {
			return nil, err
		}
	}
	if err := w.publish(ctx, dir, m); err != nil {
		return nil, err
	}
	w.Log.Info("snapshot made", "snapshot", manifestName(dir, m.Number), "tasks", len(m.Tasks), "files", len(m.Files), "bytes copied", sent, "took", time.Since(begin))
	if err := w.Clean(ctx, now); err != nil {
		w.Log.Warn("old snapshots are not deleted; tried again with the next", "err", err)
	}
	return m, nil
}

func (w *Writer) publish(ctx context.Context, dir string, m *Manifest) error {
	body, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return fmt.Errorf("make snapshot: encode manifest: %w", err)
	}
	file := w.Store.Seal(body)
	name := manifestName(dir, m.Number)
	w.mayExist(name)
	if err := w.Config.Store.Create(ctx, name, bytes.NewReader(file), int64(len(file))); errors.Is(err, snapshot.ErrExists) {
		return fmt.Errorf("make snapshot: another process writes snapshots as instance %s of application %s: instances need names of their own: %w", w.Instance, w.App, err)
	} else if err != nil {
		return fmt.Errorf("make snapshot: publish it: %w", err)
	}
	return nil
}

func (w *Writer) mayExist(name string) {
	if w.published == nil {
		w.published = map[string]bool{}
	}
	w.published[name] = true
}

func (w *Writer) list(ctx context.Context, dir string) (map[string]int64, error) {
	objects, err := w.Config.Store.List(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	m := make(map[string]int64, len(objects))
	for _, o := range objects {
		m[o.Name] = o.Size
	}
	return m, nil
}

// sum reads a file's checksum, if it is not known: a table never changes.
func (w *Writer) sum(c *store.Checkpoint, f store.CopiedFile) (File, error) {
	if known, ok := w.sums[f.Name]; ok && known.Size == f.Size && isTable(f.Name) {
		return known, nil
	}
	r, err := c.Open(f.Name)
	if err != nil {
		return File{}, fmt.Errorf("make snapshot: %w", err)
	}
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err = errors.Join(err, r.Close()); err != nil {
		return File{}, fmt.Errorf("make snapshot: read %s: %w", f.Name, err)
	}
	return File{Name: f.Name, Size: n, SHA256: hex.EncodeToString(h.Sum(nil)), KeyRange: f.Keys}, nil
}

func isTable(name string) bool { return len(name) > 4 && name[len(name)-4:] == ".sst" }

// send copies a file to the store if it is not there.
func (w *Writer) send(ctx context.Context, c *store.Checkpoint, f File, dir string, have map[string]int64) (int64, error) {
	if f.Size == 0 {
		return 0, nil // the manifest says all of it
	}
	name := fileName(dir, f.SHA256)
	size, there := have[name]
	if there && size == f.Size {
		return 0, nil
	}
	if there { // a part of it, from a copy that failed
		if err := w.Config.Store.Delete(ctx, name); err != nil {
			return 0, err
		}
	}
	r, err := c.Open(f.Name)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	body, ok := r.(interface {
		io.Reader
		io.ReaderAt
	})
	if !ok {
		return 0, fmt.Errorf("%T cannot be read twice", r)
	}
	err = w.Config.Store.Create(ctx, name, io.NewSectionReader(body, 0, f.Size), f.Size)
	if errors.Is(err, snapshot.ErrExists) {
		err = nil // it came while we looked
	}
	have[name] = f.Size
	return f.Size, err
}

// Clean deletes all but the newest snapshots of this instance, then the files that none of those refers to, and, once it has
// as many of its own as are kept, the folders of instances that are gone.
func (w *Writer) Clean(ctx context.Context, now time.Time) error {
	dir, keep := folder(w.Config.Prefix, w.App, w.Instance), max(1, w.Config.Keep)
	if err := w.clean(ctx, dir, keep); err != nil {
		return err
	}
	objects, err := w.list(ctx, w.Config.Prefix+w.App+"/")
	if err != nil {
		return err
	}
	newest, own := map[string]string{}, 0 // by folder
	for name := range objects {
		other, _, _, ok := manifestNumber(name)
		if ok && other == dir {
			own++
		} else if ok && name > newest[other] {
			newest[other] = name
		}
	}
	if own < keep {
		return nil
	}
	for other, name := range newest {
		m, err := read(ctx, w.Config.Store, w.Store, name)
		if err != nil || now.Sub(m.Created) < abandoned {
			continue
		}
		if err := w.clean(ctx, other, 0); err != nil {
			return err
		}
	}
	return nil
}

// clean keeps so many snapshots in a folder. What cannot be read may refer to anything: then no file is deleted.
func (w *Writer) clean(ctx context.Context, dir string, keep int) error {
	objects, err := w.list(ctx, dir)
	if err != nil {
		return err
	}
	manifests := w.manifests(dir, objects)
	old := manifests[:max(0, len(manifests)-keep)]
	for _, name := range old {
		if err := w.Config.Store.Delete(ctx, name); err != nil {
			return err
		}
	}
	// What List says now counts: a manifest that was just deleted, and is still there, refers to its files. So does one that is
	// there and not listed, which happens where lists lag.
	if objects, err = w.list(ctx, dir); err != nil {
		return err
	}
	needed := map[string]bool{}
	for _, name := range w.manifests(dir, objects) {
		m, err := read(ctx, w.Config.Store, w.Store, name)
		_, listed := objects[name]
		if errors.Is(err, snapshot.ErrNotFound) && (slices.Contains(old, name) || !listed) {
			delete(w.published, name)
			continue
		}
		if err != nil {
			return fmt.Errorf("keep all files of %s: %w", dir, err)
		}
		for _, f := range m.Files {
			needed[fileName(dir, f.SHA256)] = true
		}
	}
	for name := range objects {
		if _, _, _, isManifest := manifestNumber(name); !isManifest && !needed[name] {
			if err := w.Config.Store.Delete(ctx, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// manifests are those of a folder that are listed, and those that may be there, the oldest first.
func (w *Writer) manifests(dir string, objects map[string]int64) (names []string) {
	for name := range objects {
		if of, _, _, ok := manifestNumber(name); ok && of == dir {
			w.mayExist(name)
		}
	}
	for name := range w.published {
		if of, _, _, _ := manifestNumber(name); of == dir {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// maxManifest bounds what is read of a manifest, about a million files.
const maxManifest = 256 << 20

// read reads a manifest.
func read(ctx context.Context, s snapshot.Store, st *store.Store, name string) (*Manifest, error) {
	r, err := s.Open(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", name, err)
	}
	file, err := io.ReadAll(io.LimitReader(r, maxManifest))
	if err = errors.Join(err, r.Close()); err != nil && !errors.Is(err, os.ErrClosed) {
		return nil, fmt.Errorf("snapshot %s: %w", name, err)
	}
	return parse(st, name, file)
}
