package checkpoint

import (
	"context"
	"errors"
	"fmt"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/fault"
	"github.com/millstream-go/millstream/internal/store"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/source"
)

// State that no system keeps: the store's alone (connect.Sharded). Each task's batch holds, beside its entries, how far its
// inputs were processed, with the metadata that would otherwise be committed beside the position. Since all tasks are in
// one batch, a crash leaves all of them as of the same epoch, those behind an exchange in memory too.

// ErrOtherTasks: the state is laid out for another number of tasks.
var ErrOtherTasks = errors.New("state is laid out for another number of tasks")

// sharded returns the session if it is one that leaves state and positions to the store.
func (c *Committer) sharded() connect.Sharded {
	s, _ := c.Session.(connect.Sharded)
	return s
}

// keep puts positions into the epoch's batch, and with state the number of tasks that it is spread over.
func keep(b *store.Batch, s connect.Sharded, deltas []*task.Delta, positions []connect.PositionCommit) {
	at := map[source.Partition]connect.PositionCommit{}
	for _, p := range positions {
		at[p.Partition] = p
	}
	counts := s.Partitions()
	for _, d := range deltas {
		spec, reads := d.Task.Spec, false
		for _, p := range d.Task.Ports {
			reads = reads || !p.Spec.Memory
			if c, ok := at[p.Part]; ok {
				b.Set(d.Task.Partition, task.InputKey(spec.Subtopology, p.Part.Stream), task.AppendInput(nil, task.Reached{Next: c.Next, Metadata: c.Metadata}))
			}
		}
		if !reads && len(d.Entries) > 0 {
			b.Set(d.Task.Partition, task.InputKey(spec.Subtopology, spec.Changelog), task.AppendInput(nil, task.Reached{Next: source.At(int64(counts[spec.Changelog]))}))
		}
	}
}

// Age returns how new a store is. That of one that was never written to is zero.
func Age(st *store.Store) (a task.Age, err error) {
	val, found, err := st.View(0).Get(task.AgeKey(), nil)
	if err == nil && found {
		a, err = task.DecodeAge(val)
	}
	if err != nil {
		return a, fmt.Errorf("read how new the state is: %w", err)
	}
	return a, nil
}

// grow puts the store's new age into the epoch's batch.
func (c *Committer) grow(b *store.Batch) error {
	a, err := Age(c.Store)
	if err != nil {
		return err
	}
	a = task.Age{Term: max(a.Term, c.Term), Epoch: a.Epoch + 1}
	b.Set(0, task.AgeKey(), task.AppendAge(nil, a))
	return nil
}

// Kept returns what the store remembers of an input of a subtopology.
func Kept(st *store.Store, subtopology string, part source.Partition) (k task.Reached, found bool, err error) {
	val, found, err := st.View(part.Index).Get(task.InputKey(subtopology, part.Stream), nil)
	if err != nil || !found {
		return k, false, err
	}
	k, err = task.DecodeInput(val)
	return k, err == nil, err
}

// RestoreKept makes a task go on from what the store holds. A position that the session itself remembers (a lease's
// checkpoint) comes before the store's: the partition may have been elsewhere meanwhile.
func RestoreKept(ctx context.Context, s connect.Sharded, st *store.Store, t *task.Task) (*Restored, error) {
	r := &Restored{Start: map[source.Partition]*source.Position{}, Local: true}
	fault.At("in-restore")
	if err := t.Restore(); err != nil {
		return nil, err
	}
	var parts []source.Partition
	for _, p := range t.Ports {
		if !p.Spec.Memory {
			parts = append(parts, p.Part)
		}
	}
	if len(parts) == 0 {
		return r, sameTasks(s, st, t)
	}
	committed, err := s.Committed(ctx, parts)
	if err != nil {
		return nil, fmt.Errorf("task %s: read committed positions: %w", t.ID(), err)
	}
	for _, part := range parts {
		k, found, err := Kept(st, t.Spec.Subtopology, part)
		if err != nil {
			return nil, fmt.Errorf("task %s: read the position of %v in the store: %w", t.ID(), part, err)
		}
		if c, ok := committed[part]; ok {
			k.Next, found = c.Position, true
			if c.Metadata != "" {
				k.Metadata = c.Metadata
			}
		}
		r.Start[part] = nil
		if found {
			r.Start[part] = &k.Next
			if m, ok := ParseMetadata(k.Metadata); ok {
				t.Inherit(part, m.Watermark)
			}
			continue
		}
		if err := inherit(s, st, t, part); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// inherit gives a partition that begins the smallest watermark of those that it comes from: their last records came
// before its first.
func inherit(s connect.Sharded, st *store.Store, t *task.Task, part source.Partition) error {
	least, known := int64(0), false
	for _, parent := range s.Parents(part) {
		k, found, err := Kept(st, t.Spec.Subtopology, parent)
		if err != nil {
			return fmt.Errorf("task %s: read the position of %v in the store: %w", t.ID(), parent, err)
		}
		if m, ok := ParseMetadata(k.Metadata); found && ok && (!known || m.Watermark < least) {
			least, known = m.Watermark, true
		}
	}
	if known {
		t.Inherit(part, least)
	}
	return nil
}

// sameTasks refuses state that another number of tasks has left: each key would be looked for in the wrong place.
func sameTasks(s connect.Sharded, st *store.Store, t *task.Task) error {
	if t.Spec.Changelog == "" {
		return nil
	}
	k, found, err := Kept(st, t.Spec.Subtopology, source.Partition{Stream: t.Spec.Changelog, Index: t.Partition})
	if err != nil {
		return fmt.Errorf("task %s: read its layout in the store: %w", t.ID(), err)
	}
	if n := int64(s.Partitions()[t.Spec.Changelog]); found && k.Next.Offset() != n {
		return fmt.Errorf("task %s: %w: it has %d, the configuration says %d: set the number back, or begin under another AppID", t.ID(), ErrOtherTasks, k.Next.Offset(), n)
	}
	return nil
}
