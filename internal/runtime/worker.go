package runtime

import (
	"context"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/millstream-go/millstream/internal/task"
)

// stepRecords is how many records a task reads before the next one has its turn: enough to make the turn cheap, few
// enough that a cut does not wait for long.
const stepRecords = 1024

// worker steps its tasks in turn. Only its goroutine touches them.
type worker struct {
	e     *engine
	tasks []*task.Task
	epoch uint64
	ctl   chan func()
	wake  chan struct{}
}

func newWorker(e *engine, epoch uint64) *worker {
	return &worker{e: e, epoch: epoch, ctl: make(chan func(), 16), wake: make(chan struct{}, 1)}
}

// poke wakes the worker if it sleeps.
func (w *worker) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// do runs f on the worker's goroutine, between two steps, and waits for it. It returns false if the worker is gone or ctx
// ends before: then f has not run, and never will, so what it refers to is the caller's again.
func (w *worker) do(ctx context.Context, f func()) bool {
	done := make(chan struct{})
	var taken atomic.Bool // by the worker, or back by the caller
	select {
	case w.ctl <- func() {
		if taken.CompareAndSwap(false, true) {
			f()
			close(done)
		}
	}:
	case <-ctx.Done():
		return false
	case <-w.e.gone:
		return false
	}
	select {
	case <-done:
		return true
	case <-ctx.Done():
	case <-w.e.gone:
	}
	if taken.CompareAndSwap(false, true) {
		return false
	}
	<-done
	return true
}

func (w *worker) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case f := <-w.ctl:
			f()
			continue
		case <-ctx.Done():
			return
		default:
		}
		if w.step(ctx) {
			continue
		}
		timer.Reset(w.sleep())
		select {
		case f := <-w.ctl:
			f()
		case <-w.wake:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// step gives each task a turn.
func (w *worker) step(ctx context.Context) (worked bool) {
	if w.e.exchange.frozen.Load() || w.e.exchange.waits() {
		return false
	}
	now := w.e.now()
	changed := 0
	for _, t := range w.tasks {
		changed += t.Changed()
	}
	if int64(changed) > 2*w.e.dirtyLimit() && !w.e.exchange.held.Load() { // the last epoch is not committed yet, and this one holds its share
		w.e.hurry()
		return false
	}
	changed = 0
	for _, t := range w.tasks {
		if w.e.out.full() {
			return worked
		}
		ok, err := false, error(nil)
		if t.Hold = w.e.exchange.blocks(); !t.Hold || inner(t) {
			ok, err = t.Step(now, stepRecords)
		} else if w.e.exchange.held.Load() {
			ok, err = t.Send()
		} else {
			continue
		}
		if err == nil && len(t.Out.Records) > 0 {
			err = w.e.out.drain(ctx, w.epoch, t)
		}
		w.e.exchange.pass(t)
		w.e.stepped(t)
		if err != nil {
			w.e.fail(err)
			return false
		}
		worked = worked || ok
		changed += max(t.Changed(), t.Grown())
	}
	if int64(changed) > w.e.dirtyLimit() {
		w.e.hurry()
	}
	return worked
}

// sleep is how long nothing is due.
func (w *worker) sleep() time.Duration {
	due := int64(math.MaxInt64)
	for _, t := range w.tasks {
		due = min(due, t.IdleDue())
	}
	if due == math.MaxInt64 {
		return time.Minute
	}
	return min(max(time.Duration(due-w.e.now())*time.Millisecond, time.Millisecond), time.Minute)
}

// flush lets the tasks emit what they emit once an epoch, and hands it to those that it is for.
func (w *worker) flush(ctx context.Context) error {
	for _, t := range w.tasks {
		err := t.Flush()
		if err == nil {
			err = w.e.out.drain(ctx, w.epoch, t)
		}
		if err != nil {
			return err
		}
		w.e.exchange.pass(t)
	}
	return nil
}

// cut ends the epoch of the worker's tasks.
func (w *worker) cut(ctx context.Context) ([]*task.Delta, error) {
	deltas := make([]*task.Delta, 0, len(w.tasks))
	for _, t := range w.tasks {
		d, err := t.Cut(w.epoch)
		if err == nil {
			err = w.e.out.drain(ctx, w.epoch, t)
		}
		if err != nil {
			return nil, err
		}
		deltas = append(deltas, d)
	}
	w.epoch++
	return deltas, nil
}

func (w *worker) add(t *task.Task) { w.tasks = append(w.tasks, t) }

func (w *worker) remove(t *task.Task) {
	if i := slices.Index(w.tasks, t); i >= 0 {
		w.tasks = slices.Delete(w.tasks, i, i+1)
	}
}
