package runtime

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/checkpoint"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/source"
)

// Standbys are copies of the state of tasks that other instances run. Each follows the changelog of its task into the store,
// by the same way as a restore: committed records only, and the position up to which the copy reaches in the same batch. So
// a task that comes to this instance finds a local copy like any other, and has little left to read.
//
// Which tasks are copied is said by the group's balancer (connect.Copier), which also asks what copies there are. A copy
// never follows while its task is here: whoever begins to write a task's part of the store waits until the one before
// has ended.

// standby is one copy that is kept up to date.
type standby struct {
	key  slotKey
	task *task.Task // never runs: it knows the keys of its stores
	stop context.CancelFunc
	done chan struct{}
	news chan struct{} // there is something to read

	progress progress
	current  atomic.Bool
	dated    atomic.Int64 // when it was looked at last, ms since the epoch
}

const (
	// copyEvery is how often changelogs are looked at for what is new.
	copyEvery = 500 * time.Millisecond
	// copyNear is how long the last look at a changelog may have taken for the copy to be called current.
	copyNear = 2 * time.Second
	// copyMuch is how much must be left to read for a copy to be one of the few that read much at a time.
	copyMuch = 10_000
)

// Follow implements connect.Copier.
func (e *engine) Follow(parts []source.Partition) {
	e.mu.Lock()
	e.wanted = slices.Clone(parts)
	e.mu.Unlock()
	select {
	case e.follows <- struct{}{}:
	default:
	}
}

// Copies implements connect.Copier.
func (e *engine) Copies() map[source.Partition]connect.Copy {
	counts := e.counts()
	m := map[source.Partition]connect.Copy{}
	for _, sub := range e.prog.Subtopologies {
		for p := range min(counts[sub.Changelog], sub.Tasks(counts)) {
			e.mu.RLock()
			s := e.copies[slotKey{sub, p}]
			e.mu.RUnlock()
			l, found, err := local(e.store, sub.Name, p)
			if err != nil || !found || e.now()-l.Wall > checkpoint.Trusted.Milliseconds() {
				if l = (task.Local{}); s == nil {
					continue
				}
			}
			part := e.prog.names(sub, p, counts)
			k := m[part]
			if s != nil {
				k.Current = s.current.Load() && (k.Current || !k.Followed)
				k.Followed = true
			}
			k.Progress += l.Next.Offset()
			m[part] = k
		}
	}
	return m
}

// names is a partition by which a connector can call a task. A task behind an exchange in memory is called by the first
// of the program's inputs, since one instance has all tasks then.
func (p *Program) names(sub *Subtopology, partition int32, counts map[string]int32) source.Partition {
	for _, in := range sub.Inputs {
		if !in.Port.Memory && partition < counts[in.Port.Name] {
			return source.Partition{Stream: in.Port.Name, Index: partition}
		}
	}
	for _, sub := range p.Subtopologies {
		for _, in := range sub.Inputs {
			if !in.Port.Memory {
				return source.Partition{Stream: in.Port.Name}
			}
		}
	}
	return source.Partition{}
}

// follow begins and ends copies, so that there are those that are wanted.
func (e *engine) follow() {
	e.mu.RLock()
	wanted := e.wanted
	e.mu.RUnlock()
	counts := e.counts()
	keep := map[slotKey]bool{}
	for _, sub := range e.prog.Subtopologies {
		for p := range min(counts[sub.Changelog], sub.Tasks(counts)) {
			key := slotKey{sub, p}
			keep[key] = e.slots[key] == nil && slices.ContainsFunc(wanted, func(w source.Partition) bool { return e.prog.Memory || key.reads(w) })
		}
	}
	for key := range e.copies {
		if !keep[key] {
			e.unfollow(key)
		}
	}
	for key, keep := range keep {
		if keep && e.copies[key] == nil {
			e.copy(key)
		}
	}
}

// unfollow ends a copy, and returns what is closed when nothing of it writes to the store any more.
func (e *engine) unfollow(key slotKey) <-chan struct{} {
	if s := e.copies[key]; s != nil {
		s.stop()
		e.mu.Lock()
		delete(e.copies, key)
		e.mu.Unlock()
	}
	ended := e.ending[key]
	if ended == nil {
		ended = make(chan struct{})
		close(ended)
	}
	return ended
}

// copy begins one.
func (e *engine) copy(key slotKey) {
	before := e.unfollow(key)
	s := &standby{key: key, done: make(chan struct{}), news: make(chan struct{}, 1),
		task: e.prog.NewTask(key.sub, e.spec(key.sub), key.partition, e.session, e.cfg.Guarantee, e.store.View(key.partition), e.bad.note)}
	ctx, stop := context.WithCancel(e.run)
	s.stop = stop
	e.ending[key] = s.done
	e.mu.Lock()
	e.copies[key] = s
	e.mu.Unlock()
	e.background.Go(func() {
		defer close(s.done)
		defer s.task.Close()
		<-before
		e.keepCopy(ctx, s)
	})
}

// keepCopy brings a copy up to date, and again whenever there is news, until ctx ends.
func (e *engine) keepCopy(ctx context.Context, s *standby) {
	begin, first, failed := time.Now(), true, false
	for {
		err := e.look(ctx, s, first)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if !failed {
				e.log.Warn("the copy of a task's state is not up to date; tried again", "task", s.task.ID(), "err", err)
			}
		case first && s.current.Load():
			first = false
			e.log.Info("the copy of a task's state is up to date", "task", s.task.ID(), "records", s.progress.records.Load(), "took", time.Since(begin))
		}
		failed = err != nil
		select {
		case <-s.news:
		case <-ctx.Done():
			return
		}
	}
}

// look reads what a copy lacks.
func (e *engine) look(ctx context.Context, s *standby, first bool) error {
	turns := e.looking
	if left, known := s.progress.left(); first || !known || left > copyMuch {
		turns = e.copying
	}
	select {
	case turns <- struct{}{}:
		defer func() { <-turns }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if first {
		if err := e.load(ctx, s.task); err != nil {
			return err
		}
	}
	begin := time.Now()
	var r *checkpoint.Restored
	err := e.giveWay(ctx, func() (err error) {
		r, err = checkpoint.Follow(ctx, yielding{watched{e.session, &s.progress, e.log, s.task.ID(), "a task's state is being copied"}, e}, e.store, s.task, e.cfg.Guarantee, time.UnixMilli(e.now()))
		e.discarded(s.task, r)
		return err
	})
	if err != nil {
		s.current.Store(false)
		return err
	}
	s.progress.at.Store(r.Next.Offset())
	s.dated.Store(e.now())
	s.current.Store(time.Since(begin) < copyNear)
	return nil
}

// discarded tells of a copy that was deleted.
func (e *engine) discarded(t *task.Task, r *checkpoint.Restored) {
	if r.Discarded == "" {
		return
	}
	e.log.Warn("a local copy of a task's state was discarded; its changelog is read from the beginning", "task", t.ID(), "changelog", t.Spec.Changelog, "partition", t.Partition, "why", r.Discarded)
	e.notes.discarded(t.ID())
}

// watchCopies tells copies that their changelogs have grown. It asks for all of them at once.
func (e *engine) watchCopies(run context.Context) {
	ends, knows := e.session.(connect.Ender)
	tick := time.NewTicker(copyEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-run.Done():
			return
		}
		list := e.standbys()
		if len(list) == 0 {
			continue
		}
		at := map[source.Partition]source.Position{}
		if knows {
			var parts []source.Partition
			for _, s := range list {
				parts = append(parts, source.Partition{Stream: s.task.Spec.Changelog, Index: s.task.Partition})
			}
			var err error
			if at, err = ends.Ends(run, parts); err != nil {
				if run.Err() == nil {
					e.log.Debug("ends of changelogs", "err", err)
				}
				continue
			}
		}
		for _, s := range list {
			end := at[source.Partition{Stream: s.task.Spec.Changelog, Index: s.task.Partition}].Offset()
			s.progress.end.Store(end)
			old := e.now()-s.dated.Load() > checkpoint.Refreshed.Milliseconds()
			if knows && end == s.progress.at.Load() && !old && s.current.Load() {
				continue
			}
			select {
			case s.news <- struct{}{}:
			default:
			}
		}
	}
}

// standbys returns the copies, in the order of their tasks' ids.
func (e *engine) standbys() (list []*standby) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, s := range e.copies {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *standby) int { return cmp.Compare(a.task.ID(), b.task.ID()) })
	return list
}

// Whoever waits for a task comes before copies. A copy does not wait for restores in the middle of reading: it would keep
// what a session has few of, and restores need. It stops instead, and goes on later from where it is.

// errYields ends the reading of a copy's changelog, because a task is being restored.
var errYields = errors.New("a task is being restored")

// giveWay reads while no task is restored, as often as it takes.
func (e *engine) giveWay(ctx context.Context, read func() error) error {
	for {
		for e.restores.Load() > 0 {
			wait := time.NewTimer(20 * time.Millisecond)
			select {
			case <-wait.C:
			case <-ctx.Done():
				wait.Stop()
				return ctx.Err()
			}
		}
		if err := read(); !errors.Is(err, errYields) {
			return err
		}
	}
}

// yielding is a session whose changelogs are read until a restore begins.
type yielding struct {
	connect.Session
	e *engine
}

// ReadChangelog implements connect.Session.
func (y yielding) ReadChangelog(ctx context.Context, part source.Partition, from source.Position, apply func([]source.Record) error) (source.Position, error) {
	return y.Session.ReadChangelog(ctx, part, from, func(recs []source.Record) error {
		if y.e.restores.Load() > 0 {
			return errYields
		}
		return apply(recs)
	})
}
