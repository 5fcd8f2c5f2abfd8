package runtime

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/checkpoint"
	"github.com/millstream-go/millstream/internal/snapshot"
	"github.com/millstream-go/millstream/internal/store"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/source"
)

// Snapshots. They stand beside the sessions: what is copied is the store, which holds committed epochs only, and a task
// takes a copy instead of an empty or an old part of the store before it is restored as always. Where there are no
// changelogs it is otherwise, see durable.go.

// snapshots is what makes snapshots of a store, and takes them back. Nil: there are none.
type snapshots struct {
	store *store.Store
	write *snapshot.Writer
	load  *snapshot.Loader
	term  *snapshot.Term
	seed  string   // the snapshot that the store began with; "": none
	ready bool     // the store is the newest that there is
	made  task.Age // of the last snapshot of the whole store
	log   *slog.Logger
}

// openStore opens the state directory, a new one with what the snapshots have. There are none if the second result is nil.
func (a *App) openStore(ctx context.Context) (*store.Store, *snapshots, error) {
	o := store.Options{Dir: a.cfg.StateDir, FS: a.cfg.Disk, AppID: a.cfg.AppID, KeyGroups: a.cfg.KeyGroups, Exchange: a.prog.exchange(), Stores: a.prog.Stores, Keys: a.cfg.Keys,
		CacheBytes: a.cfg.blockCacheBytes(), MemTableBytes: a.cfg.memTableBytes(), Logger: a.cfg.Logger, OnFault: a.onFault, OnRecover: a.onRecover}
	c := a.cfg.Snapshots
	if c.Store == nil {
		st, err := store.Open(o)
		return st, nil, err
	}
	s := &snapshots{log: a.cfg.Logger, load: &snapshot.Loader{Config: c, App: a.cfg.AppID, Log: a.cfg.Logger}}
	o.Seed = func(st *store.Store) (imp *store.Import, err error) {
		s.load.Store = st
		imp, s.seed, err = s.load.Seed(ctx, a.instance(st), checkpoint.Trusted, time.Now())
		return imp, err
	}
	st, err := store.Open(o)
	if err != nil {
		return nil, nil, err
	}
	s.store, s.load.Store = st, st
	s.term = &snapshot.Term{Config: c, App: a.cfg.AppID, Instance: a.instance(st), Store: st, Log: a.cfg.Logger}
	s.write = &snapshot.Writer{Config: c, App: a.cfg.AppID, Instance: a.instance(st), Store: st, Log: a.cfg.Logger, Term: s.term}
	return st, s, nil
}

// instance is this instance's name.
func (a *App) instance(st *store.Store) string { return cmp.Or(a.cfg.InstanceID, st.InstanceID()) }

// takeSnapshots makes one every now and then until ctx ends.
func (a *App) takeSnapshots(ctx context.Context, c *snapshots) {
	tick := time.NewTicker(a.cfg.Snapshots.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		e := a.engine.Load()
		if e == nil {
			continue
		}
		var err error
		if e.sharded != nil {
			err = c.takeAll(ctx)
		} else {
			var tasks []snapshot.Task
			if tasks, err = e.copied(ctx, c.store); err == nil && len(tasks) > 0 {
				_, err = c.write.Take(ctx, tasks, time.Now())
			}
		}
		if err != nil && ctx.Err() == nil {
			a.cfg.Logger.Warn("no snapshot was made; tried again later", "in", a.cfg.Snapshots.Every, "err", err)
		}
	}
}

// copied lists the tasks whose state a copy of the store will hold, with what it will reach up to at least.
func (e *engine) copied(ctx context.Context, st *store.Store) (list []snapshot.Task, err error) {
	for _, w := range e.workers {
		w.do(ctx, func() {
			for _, t := range w.tasks {
				if t.Spec.Changelog == "" {
					continue
				}
				l, found, lerr := local(st, t.Spec.Subtopology, t.Partition)
				if lerr != nil {
					err = lerr
				}
				if !found {
					continue
				}
				s := snapshot.Task{Subtopology: t.Spec.Subtopology, Partition: t.Partition, Changelog: t.Spec.Changelog, Next: l.Next.Offset(), Written: time.UnixMilli(l.Wall)}
				if m := t.Marker; m != nil {
					s.Epoch, s.Owner = m.Epoch, m.Owner
				}
				list = append(list, s)
			}
		})
	}
	return list, err
}

// local reads what the store remembers of a task's changelog.
func local(st *store.Store, subtopology string, partition int32) (l task.Local, found bool, err error) {
	val, found, err := st.View(partition).Get(task.LocalKey(subtopology), nil)
	if err == nil && found {
		l, err = task.DecodeLocal(val)
	}
	if err != nil {
		return l, false, fmt.Errorf("task %s_%d: read the position of its local copy: %w", subtopology, partition, err)
	}
	return l, found, nil
}

// load puts the task's state from a snapshot into the store, where that is better than what the store has.
func (e *engine) load(ctx context.Context, t *task.Task) error {
	if e.snapshots == nil || e.sharded != nil || t.Spec.Changelog == "" {
		return nil
	}
	begin, now := time.Now(), time.UnixMilli(e.now())
	w := snapshot.Wanted{Task: t, Local: -1, End: -1, Fresh: checkpoint.Trusted, Wipe: func() error { return checkpoint.Wipe(e.store, t) }}
	l, found, err := local(e.store, t.Spec.Subtopology, t.Partition)
	if err != nil {
		return err
	}
	if found && now.Sub(time.UnixMilli(l.Wall)) < checkpoint.Trusted {
		w.Local = l.Next.Offset()
	}
	if s, ok := e.session.(connect.Ender); ok {
		part := source.Partition{Stream: t.Spec.Changelog, Index: t.Partition}
		ends, err := s.Ends(ctx, []source.Partition{part})
		if err != nil {
			return err
		}
		w.End = ends[part].Offset() // 0 if it is empty
	}
	if seed := e.snapshots.seed; seed != "" && w.End >= 0 && w.Local > w.End {
		e.log.Warn("snapshot is not used: it is ahead of the changelog, which was recreated or has lost records", "snapshot", seed, "task", t.ID(), "changelog position", w.Local, "end", w.End)
		if err := w.Wipe(); err != nil {
			return err
		}
		w.Local = -1
	}
	got, err := e.snapshots.load.Load(ctx, w, now)
	if err != nil {
		return fmt.Errorf("task %s: restore from a snapshot: %w", t.ID(), err)
	}
	if got.Snapshot != "" {
		e.log.Info("task taken from a snapshot", "task", t.ID(), "snapshot", got.Snapshot, "changelog position", got.Next, "entries", got.Entries, "bytes fetched", got.Bytes, "took", time.Since(begin))
	}
	return nil
}
