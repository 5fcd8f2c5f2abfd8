package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/fault"
	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/internal/store"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/source"
)

// ErrStateBehind: the changelog does not hold the epoch that the committed positions belong to. Going on would lose
// that epoch's state.
var ErrStateBehind = errors.New("changelog is older than the committed positions")

// ErrPositionGone: no position is committed for a partition that the state has taken records from.
var ErrPositionGone = errors.New("committed position is gone")

// Trusted is how long after its last write a local copy is still brought up to date from the changelog. An older one
// is discarded: the changelog may have forgotten deletions by then (Kafka's delete.retention.ms is a day).
const Trusted = 12 * time.Hour

// Refreshed is the age from which the date of a copy that is found to be up to date is renewed.
const Refreshed = time.Hour

// Restored is what a restore has done.
type Restored struct {
	// Start are the positions to read the task's inputs from; nil: none was committed.
	Start map[source.Partition]*source.Position
	// From is where reading the changelog began; Local says that a local copy was there.
	From    source.Position
	Local   bool
	Records int
	// Next is the position in the changelog that the store reaches up to.
	Next source.Position
	// Discarded is why a local copy was deleted; "": none was.
	Discarded string
}

// Restore brings a task's part of the store up to the last commit, and makes the task go on from it. The order
// matters: the committed positions are read first, and only when no open transaction can change them any more; the end
// of the changelog is taken after that, so that it cannot lie before the epoch that the positions belong to. inputs are
// the partitions whose positions belong to the task's state: those that it reads, or, if it reads none, those that feed
// it through exchanges in memory.
func Restore(ctx context.Context, s connect.Session, st *store.Store, t *task.Task, guarantee connect.Guarantee, now time.Time, inputs []source.Partition) (*Restored, error) {
	r := &Restored{Start: map[source.Partition]*source.Position{}}
	for _, p := range t.Ports {
		if !p.Spec.Memory {
			r.Start[p.Part] = nil
		}
	}
	committed, err := s.Committed(ctx, inputs)
	if err != nil {
		return nil, fmt.Errorf("task %s: read committed positions: %w", t.ID(), err)
	}
	fault.At("in-restore")
	if t.Spec.Changelog != "" && !plant.SkipRestore {
		err := readChangelog(ctx, s, st, t, guarantee, now, r)
		if errors.Is(err, connect.ErrDiverged) && !errors.Is(err, connect.ErrStop) {
			if err = discard(st, t, r, err.Error()); err == nil {
				err = readChangelog(ctx, s, st, t, guarantee, now, r)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("task %s: restore from changelog %s: %w", t.ID(), t.Spec.Changelog, err)
		}
	}
	if err := t.Restore(); err != nil {
		return nil, err
	}
	for part, c := range committed {
		if _, reads := r.Start[part]; !reads {
			continue
		}
		at := c.Position
		r.Start[part] = &at
		m, ok := ParseMetadata(c.Metadata)
		if !ok && strings.HasPrefix(c.Metadata, FileMetadata) {
			return nil, fmt.Errorf("%w: task %s: the committed position of %v is in files before the topic, and the topology does not read them: put source.Files back until they have been read, or begin under another AppID",
				connect.ErrStop, t.ID(), part)
		}
		if !ok {
			continue
		}
		if t.Spec.Changelog == "" {
			t.Resume(part, m.Watermark)
			t.Doubt(part, m.Waiting)
		} else if err := agrees(t, m, guarantee); err != nil {
			return nil, fmt.Errorf("task %s, position of %v: %w", t.ID(), part, err)
		}
	}
	if guarantee == connect.ExactlyOnce {
		if err := known(t, r.Start); err != nil {
			return nil, err
		}
	}
	if guarantee == connect.AtLeastOnce && t.Marker != nil {
		for _, in := range t.Marker.Inputs {
			part := source.Partition{Stream: in.Stream, Index: in.Index}
			if at := r.Start[part]; at != nil && in.Position.Compare(*at) < 0 {
				*at = in.Position
			}
		}
	}
	return r, nil
}

// Follow brings the copy of the state of a task that another instance runs up to the end that the task's changelog has
// now, without what belongs to open transactions. It is what Restore does, and so nothing but committed epochs is ever in
// a copy. A copy that does not fit the changelog is deleted, and begun anew.
func Follow(ctx context.Context, s connect.Session, st *store.Store, t *task.Task, guarantee connect.Guarantee, now time.Time) (*Restored, error) {
	r := &Restored{}
	err := readChangelog(ctx, s, st, t, guarantee, now, r)
	if errors.Is(err, connect.ErrDiverged) {
		if err = discard(st, t, r, err.Error()); err == nil {
			err = readChangelog(ctx, s, st, t, guarantee, now, r)
		}
	}
	if err != nil {
		return r, fmt.Errorf("copy the state of task %s from changelog %s: %w", t.ID(), t.Spec.Changelog, err)
	}
	return r, nil
}

func discard(st *store.Store, t *task.Task, r *Restored, why string) error {
	r.Discarded, r.From, r.Next, r.Local, r.Records = why, source.Position{}, source.Position{}, false, 0
	return Wipe(st, t)
}

// known refuses state whose positions are gone. They were committed in one transaction, so if state has taken records of a
// partition into account, a position of it was there.
func known(t *task.Task, start map[source.Partition]*source.Position) error {
	if t.Marker == nil || plant.SkipRestore || plant.LSOAsEnd || plant.OffsetsFirst || plant.NoTransaction {
		return nil
	}
	for _, in := range t.Marker.Inputs {
		part := source.Partition{Stream: in.Stream, Index: in.Index}
		if at, reads := start[part]; reads && at == nil && in.Position != (source.Position{}) && in.Position != source.AtFile(0, 0) {
			return fmt.Errorf("task %s: %w: %v has none, but its state holds what was read up to %v, which would be read again. The group was deleted, or its positions expired while it was stopped "+
				"(offsets.retention.minutes), or the topic was recreated. If the topic is the same, commit %v for it (kafka-consumer-groups.sh --reset-offsets); otherwise reset the application: "+
				"begin under another AppID", t.ID(), ErrPositionGone, part, in.Position, in.Position)
		}
	}
	return nil
}

// agrees compares the marker that was restored with the one that the committed position names. In a transaction they
// are written together; epochs of two processes are not compared.
func agrees(t *task.Task, m Metadata, guarantee connect.Guarantee) error {
	if m.Owner == "-" || plant.SkipRestore || plant.LSOAsEnd || plant.OffsetsFirst {
		return nil
	}
	have := t.Marker
	switch {
	case have == nil:
		return fmt.Errorf("%w: it has no epoch marker, and the positions belong to epoch %d of %s", ErrStateBehind, m.Epoch, m.Owner)
	case guarantee == connect.ExactlyOnce && have.Owner == m.Owner && have.Epoch < m.Epoch:
		return fmt.Errorf("%w: it ends with epoch %d of %s, the positions belong to epoch %d", ErrStateBehind, have.Epoch, m.Owner, m.Epoch)
	}
	return nil
}

func readChangelog(ctx context.Context, s connect.Session, st *store.Store, t *task.Task, guarantee connect.Guarantee, now time.Time, r *Restored) error {
	view := st.View(t.Partition)
	val, found, err := view.Get(task.LocalKey(t.Spec.Subtopology), nil)
	if err != nil {
		return err
	}
	gen := generations{exact: guarantee == connect.ExactlyOnce}
	stale := false // the copy is good, and its date is old
	if found {
		l, err := task.DecodeLocal(val)
		if err != nil {
			return err
		}
		if age := now.Sub(time.UnixMilli(l.Wall)); age < Trusted {
			r.From, r.Local, gen.now = l.Next, true, l.Owner
			stale = age > Refreshed
		} else if err := discard(st, t, r, fmt.Sprintf("it was brought up to date %v ago, and the changelog may have forgotten deletions since", age.Round(time.Minute))); err != nil {
			return err
		}
	}
	r.Next = r.From
	last := r.From
	put := func(next source.Position, recs []source.Record) error {
		b := st.NewBatch()
		for _, rec := range recs {
			if rec.Value == nil {
				b.Delete(t.Partition, rec.Key)
			} else {
				b.Set(t.Partition, rec.Key, rec.Value)
			}
		}
		b.Set(t.Partition, task.LocalKey(t.Spec.Subtopology), task.AppendLocal(nil, task.Local{Next: next, Wall: now.UnixMilli(), Owner: gen.now}))
		return b.Commit(false)
	}
	next, err := s.ReadChangelog(ctx, source.Partition{Stream: t.Spec.Changelog, Index: t.Partition}, r.From, func(recs []source.Record) error {
		r.Records += len(recs)
		if len(recs) == 0 {
			return nil
		}
		last = recs[len(recs)-1].Position
		last.Low++
		recs = gen.current(recs)
		return put(last, recs)
	})
	if err != nil {
		return err
	}
	r.Next = next
	if next.Compare(r.From) > 0 || stale {
		return put(next, nil)
	}
	return nil
}

// generations drops what a process that was shut out has still appended after its successor had begun. In a
// transaction the broker sees to that; without one, records carry their writer. Its number is higher than those of all
// writers before it, so a record with a lower number, or of another writer with the same one, is a zombie's.
type generations struct {
	exact bool
	now   string // the writer of the last record that counts
}

func (g *generations) current(recs []source.Record) []source.Record {
	if g.exact {
		return recs
	}
	keep := recs[:0:0]
	for _, r := range recs {
		writer := ""
		for _, h := range r.Headers {
			if h.Key == ownerHeader {
				writer = string(h.Value)
			}
		}
		if writer != g.now {
			if g.now != "" && term(writer) <= term(g.now) {
				continue
			}
			g.now = writer
		}
		keep = append(keep, r)
	}
	return keep
}

// Wipe deletes a task's part of the store.
func Wipe(st *store.Store, t *task.Task) error {
	b := st.NewBatch()
	for _, r := range t.Ranges() {
		b.DeleteRange(t.Partition, r.Lo, r.Hi)
	}
	b.Delete(t.Partition, task.MarkerKey(t.Spec.Subtopology))
	b.Delete(t.Partition, task.LocalKey(t.Spec.Subtopology))
	return b.Commit(false)
}
