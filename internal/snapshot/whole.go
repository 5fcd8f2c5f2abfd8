package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/millstream-go/millstream/internal/store"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/snapshot"
)

// Snapshots of a whole store. Where a system keeps neither changelogs nor positions (connect.Sharded) nothing brings a task's
// copy up to date, and tasks that come from different epochs would not fit together. So a store is taken back as a whole:
// all tasks, and the positions that their state belongs to, as one epoch's batch has left them. What is read again from those
// positions brings it up to date.

// LoadAll replaces everything in the store by the newest snapshot, if that is newer than what the store has. A damaged
// snapshot is named in the log, and the one before it taken. If none is left, and the store has nothing either, the error wraps
// ErrDamaged: the state is not lost as long as a person may mend one. Any other error may pass, or is about the configuration.
func (l *Loader) LoadAll(ctx context.Context, have task.Age) (Loaded, error) {
	objects, err := l.Config.Store.List(ctx, l.Config.Prefix+l.App+"/")
	if err != nil {
		return Loaded{}, fmt.Errorf("list the snapshots: %w", err)
	}
	manifests := map[string]*Manifest{}
	var damaged []error
	unusable := func(name string, err error) bool {
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, snapshot.ErrNotFound) {
			return false
		}
		l.Log.Warn("snapshot cannot be used; trying the one before", "snapshot", name, "err", err)
		damaged = append(damaged, err)
		return true
	}
	for _, o := range objects {
		if _, _, _, ok := manifestNumber(o.Name); !ok {
			continue
		}
		m, err := read(ctx, l.Config.Store, l.Store, o.Name)
		switch {
		case err == nil && m.Age != nil:
			manifests[o.Name] = m
		case err != nil && !unusable(o.Name, err):
			return Loaded{}, err
		}
	}
	names := make([]string, 0, len(manifests))
	for name := range manifests {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if c := manifests[b].Age.Compare(*manifests[a].Age); c != 0 {
			return c
		}
		return strings.Compare(b, a)
	})
	for _, name := range names {
		m := manifests[name]
		if !have.Part && m.Age.Compare(have) <= 0 {
			return Loaded{}, nil // and so are those before it
		}
		if err := l.Store.Accepts(m.Layout); err != nil {
			return Loaded{}, fmt.Errorf("snapshot %s: %w", name, err)
		}
		loaded, err := l.all(ctx, name, m)
		if err != nil && ctx.Err() == nil && unusable(name, err) {
			continue
		}
		return loaded, err
	}
	if len(damaged) > 0 && (have.Part || have.Epoch == 0) {
		return Loaded{}, fmt.Errorf("there is no state on the disk, and no snapshot of it is intact: mend one, or begin under another AppID: %w", errors.Join(damaged...))
	}
	return Loaded{}, nil
}

// all puts a snapshot in the place of what the store has. Until all of it is there the store's age says so.
func (l *Loader) all(ctx context.Context, name string, m *Manifest) (loaded Loaded, err error) {
	imp, size, err := l.fetch(ctx, name, m)
	if errors.Is(err, store.ErrDamaged) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return loaded, err
	}
	defer func() {
		if cerr := imp.Close(); err == nil {
			err = cerr
		}
	}()
	val, found, err := imp.View(0).Get(task.AgeKey(), nil)
	if err != nil || !found {
		return loaded, errors.Join(fmt.Errorf("%w: %s: it does not say how new it is", ErrDamaged, name), err)
	}
	age, err := task.DecodeAge(val)
	if err == nil && (age.Part || age.Compare(*m.Age) < 0) {
		err = fmt.Errorf("it is of %v, and should be of %v at least", age, m.Age)
	}
	if err != nil {
		return loaded, fmt.Errorf("%w: %s: %w", ErrDamaged, name, err)
	}
	loaded = Loaded{Snapshot: name, Bytes: size, Age: age}
	b := l.Store.NewBatch()
	b.Clear()
	b.Set(0, task.AgeKey(), task.AppendAge(nil, task.Age{Part: true}))
	if err := imp.Scan(func(partition int32, key, value []byte) error {
		if key[0] == task.KindAge {
			return nil
		}
		b.Set(partition, key, value)
		loaded.Entries++
		if b.Len() < batchBytes {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		return b.Commit(false)
	}); err != nil {
		return loaded, err
	}
	b.Set(0, task.AgeKey(), val)
	return loaded, b.Commit(true)
}
