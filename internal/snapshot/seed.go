package snapshot

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/millstream-go/millstream/internal/store"
)

// A new disk begins with a copy as it is, rather than with its entries put into an empty database one by one: its tables need
// not be written and sorted again. What it has of tasks that this instance is not given is as what a disk keeps of tasks that
// have gone elsewhere. Afterwards each task is brought up to date as always, from a newer snapshot or from its changelog.

// Seed returns a copy of the snapshot that an empty store should begin with, and the snapshot's name; nil if there is none. What
// is wrong with snapshots is logged. An error is about the local disk, or ctx.
func (l *Loader) Seed(ctx context.Context, instance string, fresh time.Duration, now time.Time) (*store.Import, string, error) {
	begin := time.Now()
	usable := l.refresh(ctx)
	for _, name := range seeds(usable, folder(l.Config.Prefix, l.App, instance), now.Add(-fresh)) {
		imp, size, err := l.fetch(ctx, name, usable[name])
		if ctx.Err() != nil {
			return nil, "", ctx.Err()
		}
		if err != nil {
			l.Log.Warn("snapshot cannot be used; trying the one before", "snapshot", name, "err", err)
			l.condemn(name)
			continue
		}
		l.Log.Info("state begins with a snapshot", "snapshot", name, "tasks", len(usable[name].Tasks), "bytes fetched", size, "took", time.Since(begin))
		return imp, name, nil
	}
	return nil, "", nil
}

// seeds are the snapshots to begin with, the best first: those of this instance, which is given its tasks again, the newest first; then
// those that have every task that any snapshot has. One that has a part of the tasks, and was made by another instance, is fetched
// once a task needs it.
func seeds(usable map[string]*Manifest, own string, notBefore time.Time) []string {
	type taskID struct {
		subtopology string
		partition   int32
	}
	all, has := map[taskID]bool{}, map[string]map[taskID]bool{}
	for name, m := range usable {
		if m.Age != nil || m.Created.Before(notBefore) {
			continue
		}
		has[name] = map[taskID]bool{}
		for _, t := range m.Tasks {
			all[taskID{t.Subtopology, t.Partition}], has[name][taskID{t.Subtopology, t.Partition}] = true, true
		}
	}
	rank := func(name string) int {
		if dir, _, _, _ := manifestNumber(name); dir == own {
			return 0
		} else if len(has[name]) == len(all) {
			return 1
		}
		return 2
	}
	var names []string
	for name := range has {
		if rank(name) < 2 {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), usable[b].Created.Compare(usable[a].Created), cmp.Compare(b, a))
	})
	return names
}
