package streamtest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
)

// Step is a step of a commit at which Crash can kill the process. See package checkpoint for what they are.
type Step string

// The steps, in the order of an exactly-once commit. At-least-once applies the epoch to the state store before it
// commits the positions.
const (
	// BeforeProduce: the tasks have handed over what has changed; nothing of it is written yet.
	BeforeProduce Step = "before-produce"
	// BeforeFlush: outputs and changelogs are written, but not acknowledged.
	BeforeFlush Step = "before-flush"
	// AfterFlush: they are acknowledged.
	AfterFlush Step = "after-flush"
	// BeforeCommit: the commit has not been sent.
	BeforeCommit Step = "before-commit"
	// AfterCommit: it has been done, and the state store has not heard of it.
	AfterCommit Step = "after-commit"
	// LostAnswer: it has been done, and the answer is lost. The process lives on, and begins anew from what is
	// committed.
	LostAnswer Step = "lost-answer"
	// AfterApply: the epoch is in the state store too.
	AfterApply Step = "after-apply"
	// DuringRestore is not part of a commit: the next start dies after it has read the first records of a changelog.
	DuringRestore Step = "during-restore"
)

// Steps are all steps.
func Steps() []Step {
	return []Step{BeforeProduce, BeforeFlush, AfterFlush, BeforeCommit, AfterCommit, LostAnswer, AfterApply, DuringRestore}
}

// Crash kills the process when it comes to this step next, which is usually in the next Pipe, Advance or Commit: the
// process's memory is lost, its open transaction aborted, what is committed stays. The application is started again at
// once, and goes on. Several steps can be waiting.
func (d *Driver) Crash(at Step) {
	d.t.Helper()
	if !slices.Contains(Steps(), at) {
		d.t.Fatalf("streamtest: Crash(%q): there is no such step", at)
	}
	d.deadly = append(d.deadly, at)
}

// dies says that the process is to be killed at this step.
func (d *Driver) dies(at Step) bool {
	i := slices.Index(d.deadly, at)
	if i < 0 {
		return false
	}
	d.deadly = slices.Delete(d.deadly, i, i+1)
	return true
}

// Commit ends the epoch, and processes what has become visible by it, until nothing is left to do.
func (d *Driver) Commit() {
	d.t.Helper()
	d.settle(true)
}

// settle works until nothing is left to do. commit is for ManualCommit.
func (d *Driver) settle(commit bool) {
	d.t.Helper()
	for d.err == nil {
		worked := d.work()
		if d.err != nil || d.o.manual && !commit {
			return
		}
		if !d.commit() && !worked {
			return
		}
	}
}

// work steps the tasks, upstream ones first, until none has anything to do.
func (d *Driver) work() (worked bool) {
	d.t.Helper()
	for d.err == nil {
		if err := d.follow(); err != nil {
			d.stop(err)
			return worked
		}
		again := false
		starts := d.starts
		for _, s := range d.slots {
			if d.turnOf(s) {
				again = true
			}
			if d.err != nil {
				return true
			}
			if !d.o.manual && d.o.every > 0 && d.steps >= d.o.every {
				d.commit()
			}
			if d.starts != starts {
				break // these tasks are gone
			}
		}
		if !again && d.starts == starts {
			return worked
		}
		worked = true
	}
	return worked
}

// turnOf delivers what a task can take, and steps it once.
func (d *Driver) turnOf(s *slot) (worked bool) {
	d.t.Helper()
	for _, f := range s.feeds {
		delivered, mark := f.deliver(d.o.batch)
		if mark != nil {
			f.pass(mark)
			if err := s.task.Advance(f.port, mark.Time, d.now); err != nil {
				d.stop(err)
				return true
			}
		}
		if delivered && d.o.guarantee == connect.AtMostOnce && !d.ahead(f) {
			return true
		}
		worked = worked || delivered || mark != nil
	}
	for _, f := range s.feeds {
		if f.port.Spec.ProvenAfter > 0 {
			f.port.Prove(task.Proof{At: d.now, End: source.At(f.part.end), Nothing: f.part.end == 0})
		}
	}
	worked = d.answer(s.task) || worked
	after := d.explain.watch(s)
	stepped, err := s.task.Step(d.now, d.o.batch)
	after()
	if err == nil {
		err = d.take(s.task)
	}
	if err != nil {
		d.stop(err)
		return true
	}
	if stepped {
		d.steps++
	}
	return worked || stepped
}

// ahead commits the end of a port's queue before it is processed: at-most-once.
func (d *Driver) ahead(f *feed) bool {
	d.t.Helper()
	end, ok := f.port.QueueEnd()
	if !ok {
		return true
	}
	if err := d.committer.Ahead(d.ctx, []connect.PositionCommit{{Partition: f.port.Part, Next: end, Metadata: "1 - 0 0"}}); err != nil {
		d.died(err)
		return false
	}
	f.port.Limit(end)
	return true
}

// take writes what a task has put out.
func (d *Driver) take(t *task.Task) error {
	d.prog.Pass(t, d.counts, d.offer)
	recs := t.Out.Take()
	if d.overlap {
		d.waiting = append(d.waiting, recs...)
		return nil
	}
	return d.produce(d.ctx, recs)
}

// offer hands records to a task of this process.
func (d *Driver) offer(b source.Batch, x task.Parcel) {
	for _, s := range d.slots {
		for _, f := range s.feeds {
			if f.port.Part == b.Partition {
				b.CaughtUp = true
				f.port.Hand(b, x)
			}
		}
	}
}

// drain lets the tasks behind exchanges in memory work until nothing is under way between tasks, and nothing is held back
// for the end of the epoch.
func (d *Driver) drain() bool {
	d.t.Helper()
	for again := d.prog.Memory; again; {
		again = false
		for _, s := range d.slots {
			if slices.ContainsFunc(s.task.Ports, func(p *task.Port) bool { return p.Spec.Memory }) {
				s.task.Hold = true
				again = d.turnOf(s) || again
				s.task.Hold = false
			} else {
				again = d.send(s) || again
			}
			if d.err != nil {
				return false
			}
		}
		if again {
			continue
		}
		for _, s := range d.slots {
			err := s.task.Flush()
			again = again || !s.task.Cross.Empty()
			if err == nil {
				err = d.take(s.task)
			}
			if err != nil {
				d.stop(err)
				return false
			}
		}
	}
	return true
}

// send lets a task hand over what it has gathered for others of this process.
func (d *Driver) send(s *slot) bool {
	d.t.Helper()
	sent, err := s.task.Send()
	if err == nil {
		err = d.take(s.task)
	}
	if err != nil {
		d.stop(err)
	}
	return sent
}

// produce writes records in the open epoch.
func (d *Driver) produce(ctx context.Context, recs []sink.Record) error {
	if len(recs) == 0 {
		return nil
	}
	if !d.session.begun {
		if err := d.session.Begin(); err != nil {
			return err
		}
	}
	return d.session.Produce(ctx, recs)
}

// commit ends the epoch. It returns false if there was nothing to commit.
func (d *Driver) commit() bool {
	d.t.Helper()
	d.steps = 0
	if !d.drain() {
		return true
	}
	var deltas []*task.Delta
	for _, s := range d.slots {
		delta, err := s.task.Cut(d.epoch)
		if err == nil {
			err = d.take(s.task)
		}
		if err != nil {
			d.stop(err)
			return true
		}
		deltas = append(deltas, delta)
		if d.explain != nil {
			d.explain.cut(delta)
		}
		if err := s.task.Ledger(); err != nil {
			d.t.Fatalf("streamtest: records have disappeared: %v", err)
			return true
		}
	}
	epoch := d.epoch
	d.epoch++
	if !d.session.begun && d.committer.Idle(deltas) {
		return false
	}
	if d.dies(BeforeProduce) {
		d.died(errKilled)
		return true
	}
	if d.o.overlap && !d.goOn() {
		return true
	}
	err := d.committer.Commit(d.ctx, deltas, d.wall())
	if err == nil && d.o.guarantee == connect.AtMostOnce {
		err = d.committer.Ahead(d.ctx, nil)
	}
	if err == nil && d.dies(AfterApply) {
		err = errKilled
	}
	if err == nil {
		for _, s := range d.slots {
			s.task.Applied(epoch)
		}
		recs := d.waiting
		d.waiting = nil
		err = d.produce(d.ctx, recs)
	}
	if err != nil {
		d.died(err)
	}
	return true
}

// goOn lets the tasks take a few steps into the next epoch.
func (d *Driver) goOn() bool {
	d.t.Helper()
	d.overlap = true
	defer func() { d.overlap = false }()
	for range 3 {
		for _, s := range d.slots {
			if d.turnOf(s); d.err != nil {
				return false
			}
		}
	}
	return true
}

// died goes on after an epoch that has failed: as a new process, or, if only the answer is missing, as a new session.
func (d *Driver) died(err error) {
	d.t.Helper()
	switch {
	case errors.Is(err, errKilled):
		d.reborn()
	case errors.Is(err, connect.ErrUnknown):
		st := d.store
		d.store = nil
		d.end(false)
		d.store = st
		d.start()
	default:
		d.stop(fmt.Errorf("commit: %w", err))
	}
}
