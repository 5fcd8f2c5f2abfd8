package runtime

import (
	"context"
	"fmt"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/checkpoint"
	"github.com/millstream-go/millstream/internal/snapshot"
	"github.com/millstream-go/millstream/internal/store"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/source"
)

// Snapshots. They stand beside the sessions: what is copied is the store, which holds committed epochs only, and a task
// takes a copy instead of an empty or an old part of the store before it is restored as always.

// takeSnapshots makes one every now and then until ctx ends.
func (a *App) takeSnapshots(ctx context.Context, st *store.Store, instance string) {
	w := &snapshot.Writer{Config: a.cfg.Snapshots, App: a.cfg.AppID, Instance: instance, Store: st, Log: a.cfg.Logger}
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
		tasks, err := e.copied(ctx, st)
		if err == nil && len(tasks) > 0 {
			_, err = w.Take(ctx, tasks, time.Now())
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
	if e.snapshots == nil || t.Spec.Changelog == "" {
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
	got, err := e.snapshots.Load(ctx, w, now)
	if err != nil {
		return fmt.Errorf("task %s: restore from a snapshot: %w", t.ID(), err)
	}
	if got.Snapshot != "" {
		e.log.Info("task taken from a snapshot", "task", t.ID(), "snapshot", got.Snapshot, "changelog position", got.Next, "entries", got.Entries, "bytes fetched", got.Bytes, "took", time.Since(begin))
	}
	return nil
}
