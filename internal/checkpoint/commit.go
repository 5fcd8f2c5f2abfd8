// Package checkpoint ends epochs and begins tasks: the order of steps that makes state, output and positions change
// together, and the way back from any of those steps after a crash. It is the one place where that order is written
// down; the runtime calls it from its goroutines, the test driver calls it step by step.
//
// # The end of an epoch
//
// Exactly-once. One atomic write is the commit point: all before it can be forgotten, all after it is done again from
// what it has left.
//
//  1. Every task hands over its changed entries, its positions and its marker (task.Cut).
//  2. They go to the changelogs in the transaction that the epoch's outputs are in; then the watermarks, to every
//     partition of the repartition topics.
//  3. Everything is acknowledged (Session.Flush). One failed record aborts the epoch.
//  4. The positions join the transaction, and it is committed (Session.Commit): the commit point.
//  5. The same entries go to the store as one batch, with the changelog position that they reach up to.
//
// A crash before 4 leaves nothing: the broker aborts the transaction, the store was not touched. A crash after 4
// leaves the store one epoch behind; Restore reads that epoch from the changelog. If the answer of 4 is lost, nobody
// here decides whether it happened: everything in memory is dropped, the producer fenced, and tasks begin again from
// what the broker says.
//
// Where the system keeps neither changelogs nor positions (connect.Sharded) the store is all there is. Step 2 falls away, and
// the store's batch is the commit point: it holds the positions too, and is synced. The session hears of the positions
// after it. See kept.go.
//
// At-least-once. The same without a transaction, and with the store's batch before the positions, so that positions
// never run ahead of state. At-most-once commits positions before their records are processed (Ahead), and writes outputs
// after the state.
package checkpoint

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/eventtime"
	"github.com/millstream-go/millstream/internal/fault"
	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/internal/store"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
)

// Committer ends the epochs of one session.
type Committer struct {
	Session   connect.Session
	Store     *store.Store
	Guarantee connect.Guarantee
	Owner     string // the incarnation of this process
	Term      uint64 // of this process, where snapshots are the only copies; see task.Age
	// Produce writes records in the epoch that is being ended.
	Produce func(ctx context.Context, recs []sink.Record) error
	// Release writes the outputs of that epoch, which at-most-once has held back; nil if nothing is.
	Release func(ctx context.Context) error

	carried   map[string]map[int32]task.Carry
	writers   map[*task.Task]string
	durations Durations

	mu        sync.Mutex // Started and Released come from another goroutine than Commit
	committed map[source.Partition]source.Position
}

// Durations are the times that the last epoch took, by phase.
type Durations struct{ Produce, Flush, Commit, Apply time.Duration }

// Durations returns the times of the last epoch.
func (c *Committer) Durations() Durations { return c.durations }

// Commit ends an epoch. The deltas are those of all tasks of the process, in any order. After an error the session is
// of no use, and nothing that the tasks hold may be used.
func (c *Committer) Commit(ctx context.Context, deltas []*task.Delta, now time.Time) error {
	t0 := time.Now()
	lap := func(d *time.Duration) {
		t := time.Now()
		*d, t0 = t.Sub(t0), t
	}
	positions := c.positions(deltas)
	if c.Guarantee == connect.AtMostOnce {
		return c.atMostOnce(ctx, deltas, positions, now)
	}
	fault.At("before-produce")
	if plant.EarlyState {
		if err := c.apply(deltas, positions, nil, now); err != nil {
			return err
		}
	}
	for _, d := range deltas {
		if err := c.changelog(ctx, d, now); err != nil {
			return err
		}
	}
	if err := c.watermarks(ctx, deltas, positions, now); err != nil {
		return err
	}
	lap(&c.durations.Produce)
	fault.At("before-flush")
	ends, err := c.Session.Flush(ctx)
	if err != nil {
		return fmt.Errorf("epoch: write outputs and changelog: %w", err)
	}
	lap(&c.durations.Flush)
	commit := func() error {
		if err := c.Session.Commit(ctx, positions); err != nil {
			return fmt.Errorf("epoch: commit: %w", err)
		}
		c.note(positions)
		lap(&c.durations.Commit)
		return nil
	}
	apply := func() error {
		if err := c.apply(deltas, positions, ends, now); err != nil {
			return fmt.Errorf("epoch: apply to the state store: %w", err)
		}
		lap(&c.durations.Apply)
		return nil
	}
	if c.Guarantee == connect.ExactlyOnce && c.Session.Transactional() {
		if err := commit(); err != nil {
			return err
		}
		fault.At("before-apply")
		err = apply()
	} else {
		if err := apply(); err != nil {
			return err
		}
		fault.At("before-positions")
		err = commit()
	}
	fault.At("after-apply")
	return err
}

// atMostOnce ends an epoch whose positions were committed before its records were processed. State comes first, what the
// epoch has written after it: a crash in between loses that, where the other order would let timers fire and windows
// close a second time.
func (c *Committer) atMostOnce(ctx context.Context, deltas []*task.Delta, positions []connect.PositionCommit, now time.Time) error {
	fault.At("before-produce")
	for _, d := range deltas {
		if err := c.changelog(ctx, d, now); err != nil {
			return err
		}
	}
	fault.At("before-flush")
	ends, err := c.Session.Flush(ctx)
	if err != nil {
		return fmt.Errorf("epoch: write changelog: %w", err)
	}
	if err := c.apply(deltas, positions, ends, now); err != nil {
		return fmt.Errorf("epoch: apply to the state store: %w", err)
	}
	fault.At("before-outputs")
	if c.Release != nil {
		if err := c.Release(ctx); err != nil {
			return fmt.Errorf("epoch: write outputs: %w", err)
		}
	}
	if err := c.watermarks(ctx, deltas, positions, now); err != nil {
		return err
	}
	if _, err := c.Session.Flush(ctx); err != nil {
		return fmt.Errorf("epoch: write outputs: %w", err)
	}
	c.note(positions)
	fault.At("after-apply")
	return nil
}

// Ahead commits positions whose records are not processed yet. Under at-most-once it is what ends the epoch.
func (c *Committer) Ahead(ctx context.Context, at []connect.PositionCommit) error {
	if err := c.Session.Commit(ctx, at); err != nil {
		return fmt.Errorf("commit positions before processing: %w", err)
	}
	c.note(at)
	return nil
}

// note remembers what was committed.
func (c *Committer) note(at []connect.PositionCommit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.committed == nil {
		c.committed = map[source.Partition]source.Position{}
	}
	for _, p := range at {
		c.committed[p.Partition] = p.Next
	}
}

// Idle says that an epoch would change nothing.
func (c *Committer) Idle(deltas []*task.Delta) bool {
	for _, d := range deltas {
		if d.Touched || len(d.Entries) > 0 || len(d.Ranges) > 0 {
			return false
		}
	}
	return len(c.positions(deltas)) == 0
}

// positions lists what is to be committed: the positions that have moved, and all those of tasks that did anything or
// send a watermark along, so that a transaction with output from a timer alone is checked against the group's
// generation too. A task whose partition never had a record has no position; what it sends along goes with those of the
// others.
func (c *Committer) positions(deltas []*task.Delta) (list []connect.PositionCommit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.committed == nil {
		c.committed = map[source.Partition]source.Position{}
	}
	collect := func(needed func(d *task.Delta, moved bool) bool) {
		for _, d := range deltas {
			for _, p := range d.Task.Ports {
				at, ok := d.Positions[p.Part]
				if old, had := c.committed[p.Part]; ok && needed(d, !had || old != at) {
					list = append(list, connect.PositionCommit{Partition: p.Part, Next: at, Metadata: c.metadata(d, p)})
				}
			}
		}
	}
	collect(func(d *task.Delta, moved bool) bool { return d.Touched || moved || c.carriesMoved(d) })
	writes := func(d *task.Delta) bool { return d.Touched || len(d.Entries) > 0 || c.carriesMoved(d) }
	if len(list) == 0 && slices.ContainsFunc(deltas, writes) { // such as tasks behind an exchange in memory, which have no positions
		collect(func(*task.Delta, bool) bool { return true })
	}
	slices.SortFunc(list, func(a, b connect.PositionCommit) int {
		return strings.Compare(a.Partition.String(), b.Partition.String())
	})
	return list
}

// Started says where a partition begins, so that an unmoved position is not committed again.
func (c *Committer) Started(part source.Partition, at source.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.committed == nil {
		c.committed = map[source.Partition]source.Position{}
	}
	c.committed[part] = at
}

// Committed returns the positions of these streams that were committed last.
func (c *Committer) Committed(streams map[string]bool) map[source.Partition]source.Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := map[source.Partition]source.Position{}
	for part, at := range c.committed {
		if streams[part.Stream] {
			m[part] = at
		}
	}
	return m
}

// Released forgets a partition that goes to another instance.
func (c *Committer) Released(part source.Partition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.committed, part)
}

// recordsAtOnce is how many changelog records are handed to the session at a time.
const recordsAtOnce = 1024

// changelog writes a task's entries, the marker last.
func (c *Committer) changelog(ctx context.Context, d *task.Delta, now time.Time) error {
	if d.Task.Spec.Changelog == "" || len(d.Entries) == 0 || c.sharded() != nil {
		return nil
	}
	var headers []source.Header
	if c.Guarantee != connect.ExactlyOnce {
		w, err := c.writer(d.Task)
		if err != nil {
			return err
		}
		headers = []source.Header{{Key: ownerHeader, Value: []byte(w)}}
	}
	// Some at a time: as records they take more room than as entries.
	recs := make([]sink.Record, 0, min(len(d.Entries), recordsAtOnce))
	for some := range slices.Chunk(d.Entries, recordsAtOnce) {
		recs = recs[:0]
		for _, e := range some {
			recs = append(recs, sink.Record{Stream: d.Task.Spec.Changelog, Partition: d.Task.Partition, Key: e.Key, Value: e.Value, Headers: headers, Time: now.UnixMilli()})
		}
		if err := c.Produce(ctx, recs); err != nil {
			return fmt.Errorf("epoch: write changelog of task %s: %w", d.Task.ID(), err)
		}
	}
	return nil
}

// ownerHeader names the writer of a changelog record, where no transaction keeps a writer out that was shut out.
const ownerHeader = "millstream-owner"

// writer names one stay of a task with this instance, by a number that is higher than that of every writer whose records
// were restored, and an id. See generations.
func (c *Committer) writer(t *task.Task) (string, error) {
	if w, ok := c.writers[t]; ok {
		return w, nil
	}
	l, err := c.local(t)
	if err != nil {
		return "", err
	}
	if c.writers == nil {
		c.writers = map[*task.Task]string{}
	}
	c.writers[t] = fmt.Sprintf("%d %s", term(l.Owner)+1, uuid.NewString())
	return c.writers[t], nil
}

// term is the number of a writer.
func term(writer string) uint64 {
	n, _, _ := strings.Cut(writer, " ")
	t, err := strconv.ParseUint(n, 10, 64)
	if err != nil {
		return 0
	}
	return t
}

// local reads what the store remembers of a task's changelog.
func (c *Committer) local(t *task.Task) (task.Local, error) {
	val, found, err := c.Store.View(t.Partition).Get(task.LocalKey(t.Spec.Subtopology), nil)
	if err != nil || !found {
		return task.Local{}, err
	}
	return task.DecodeLocal(val)
}

// next makes what the store will remember of a task's changelog once the epoch is in it. Without a transaction it finds
// out first whether somebody else has written to the changelog since it was last read or written here: then the task
// has another owner, and what that one has written is not in the store.
func (c *Committer) next(d *task.Delta, end source.Position, now time.Time) (task.Local, error) {
	l := task.Local{Next: end, Wall: now.UnixMilli(), Owner: c.Owner}
	if c.Guarantee == connect.ExactlyOnce {
		return l, nil
	}
	before, err := c.local(d.Task)
	if err != nil {
		return l, err
	}
	if alone := before.Next.Offset() + int64(len(d.Entries)); alone != end.Offset() {
		return l, fmt.Errorf("%w: changelog %s/%d ends at %v, without another writer it would at %d", connect.ErrFenced, d.Task.Spec.Changelog, d.Task.Partition, end, alone)
	}
	l.Owner, err = c.writer(d.Task)
	return l, err
}

// carryMoved says that a watermark is news to the tasks behind the repartition topic. One of which nothing is known yet
// is none.
func (c *Committer) carryMoved(w task.Carry) bool {
	old, sent := c.carried[w.Stream][w.Task]
	return old != w && (sent || w.Idle || w.Watermark != eventtime.None)
}

func (c *Committer) carriesMoved(d *task.Delta) bool {
	return slices.ContainsFunc(d.Carry, c.carryMoved)
}

// watermarks sends the tasks' watermarks along: one record to each partition of a repartition topic, with all tasks of
// this process in it, and only if one has moved. It goes with the positions of its tasks; while none of those is known,
// it waits.
func (c *Committer) watermarks(ctx context.Context, deltas []*task.Delta, positions []connect.PositionCommit, now time.Time) error {
	if len(positions) == 0 || !slices.ContainsFunc(deltas, c.carriesMoved) {
		return nil
	}
	if c.carried == nil {
		c.carried = map[string]map[int32]task.Carry{}
	}
	moved := map[string][]task.ControlTask{}
	for _, d := range deltas {
		for _, w := range d.Carry {
			m := c.carried[w.Stream]
			if m == nil {
				m = map[int32]task.Carry{}
				c.carried[w.Stream] = m
			}
			if c.carryMoved(w) {
				m[w.Task] = w
				moved[w.Stream] = append(moved[w.Stream], task.ControlTask{Task: w.Task, Watermark: w.Watermark, Idle: w.Idle})
			}
		}
	}
	var recs []sink.Record
	for stream, tasks := range moved {
		value := task.AppendControl(nil, task.Control{Tasks: tasks})
		for p := range c.Session.Partitions()[stream] {
			recs = append(recs, sink.Record{Stream: stream, Partition: p, Value: value, Time: now.UnixMilli(),
				Headers: []source.Header{{Key: task.ControlHeader}}})
		}
	}
	if err := c.Produce(ctx, recs); err != nil {
		return fmt.Errorf("epoch: write watermarks: %w", err)
	}
	return nil
}

// apply puts the epoch into the store, as one batch.
func (c *Committer) apply(deltas []*task.Delta, positions []connect.PositionCommit, ends map[source.Partition]source.Position, now time.Time) error {
	b := c.Store.NewBatch()
	b.Grow(room(deltas))
	for _, d := range deltas {
		t := d.Task
		for _, r := range d.Ranges {
			b.DeleteRange(t.Partition, r.Lo, r.Hi)
		}
		for _, e := range d.Entries {
			switch {
			case e.LogOnly:
			case e.Value == nil:
				b.Delete(t.Partition, e.Key)
			default:
				b.Set(t.Partition, e.Key, e.Value)
			}
		}
		if end, ok := ends[source.Partition{Stream: t.Spec.Changelog, Index: t.Partition}]; ok {
			l, err := c.next(d, end, now)
			if err != nil {
				return err
			}
			b.Set(t.Partition, task.LocalKey(t.Spec.Subtopology), task.AppendLocal(nil, l))
		}
	}
	sharded := c.sharded()
	if sharded != nil {
		keep(b, sharded, deltas, positions)
	}
	if b.Count() == 0 {
		return nil
	}
	if sharded != nil {
		if err := c.grow(b); err != nil {
			return err
		}
	}
	return b.Commit(sharded != nil || !c.Session.Transactional() && c.Guarantee == connect.ExactlyOnce)
}

// room is what a batch of the deltas takes, hardly less: what is for the store alone is small.
func room(deltas []*task.Delta) (n int) {
	for _, d := range deltas {
		n += 256 // positions, and what is remembered of the changelog
		for i := range d.Entries {
			if e := &d.Entries[i]; !e.LogOnly {
				n += len(e.Key) + len(e.Value) + store.EntryBytes
			}
		}
	}
	return n
}

// The metadata of a committed position: format, who committed it, the epoch of the task's newest marker at that time
// (and who wrote that), the input's watermark, and, if there are any, the times that are not believed (see
// eventtime.Guard): no more than fit into what a broker takes.
func (c *Committer) metadata(d *task.Delta, p *task.Port) string {
	owner, epoch := "-", uint64(0)
	if m := d.Marker; m != nil {
		owner, epoch = m.Owner, m.Epoch
	}
	s := fmt.Sprintf("1 %s %d %d", owner, epoch, d.Watermarks[p.Part])
	for i, t := range d.Waiting[p.Part] {
		s += string(" ,"[min(i, 1)]) + strconv.FormatInt(t, 10)
	}
	return s
}

// FileMetadata begins the metadata of a position that is not in the topic yet, but in the files that come before it.
const FileMetadata = "files "

// Metadata is what was committed beside a position.
type Metadata struct {
	Owner     string // of the newest marker; "-": none was written
	Epoch     uint64
	Watermark int64
	Waiting   []int64
}

// ParseMetadata reads a position's metadata; ok is false for one that is not ours (an offset reset by a tool).
func ParseMetadata(s string) (m Metadata, ok bool) {
	f := strings.Fields(s)
	if len(f) < 4 || len(f) > 5 || f[0] != "1" {
		return m, false
	}
	if len(f) == 5 {
		for x := range strings.SplitSeq(f[4], ",") {
			t, err := strconv.ParseInt(x, 10, 64)
			if err != nil {
				return m, false
			}
			m.Waiting = append(m.Waiting, t)
		}
	}
	var err1, err2 error
	m.Owner = f[1]
	m.Epoch, err1 = strconv.ParseUint(f[2], 10, 64)
	m.Watermark, err2 = strconv.ParseInt(f[3], 10, 64)
	return m, err1 == nil && err2 == nil
}
