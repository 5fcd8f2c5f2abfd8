package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/source"
)

// exchange moves records between the tasks of one process, where repartitions need no topic. It is safe only while
// this instance owns everything; the group's balancer sees to that, and assign refuses to begin otherwise.
//
// An epoch must hold a record together with all that it has caused. So before a cut the tasks that read sources are
// held, the others go on until nothing is under way between tasks, and only then is the epoch ended.
type exchange struct {
	e     *engine
	limit int64        // bytes under way, beyond which the tasks that read sources wait
	bytes atomic.Int64 // under way
	held  atomic.Bool
	// frozen: no task steps at all, since a timer could put something under way.
	frozen atomic.Bool
	// ready: every task is restored. Until then none steps and no epoch ends, since what one hands to a task that is
	// still being restored would stay under way.
	ready atomic.Bool
}

func newExchange(e *engine) *exchange { return &exchange{e: e, limit: e.cfg.fetchBytes()} }

// blocks says that tasks must not read sources now.
func (x *exchange) blocks() bool {
	return x.e.prog.Memory && (x.held.Load() || x.bytes.Load() > x.limit)
}

// waits says that not every task is restored yet.
func (x *exchange) waits() bool { return x.e.prog.Memory && !x.ready.Load() }

// inner says that a task reads other tasks; it may read sources too.
func inner(t *task.Task) bool {
	return slices.ContainsFunc(t.Ports, func(p *task.Port) bool { return p.Spec.Memory })
}

// pass hands what a step has produced to the tasks it is for.
func (x *exchange) pass(t *task.Task) { x.e.prog.Pass(t, x.e.counts, x.offer) }

func (x *exchange) offer(b source.Batch, parcel task.Parcel) {
	x.e.mu.RLock()
	p := x.e.ports[b.Partition]
	x.e.mu.RUnlock()
	if p == nil { // a source has grown, and the task behind does not exist yet
		x.e.fail(fmt.Errorf("exchange: no task reads %v: %w", b.Partition, connect.ErrRetry))
		return
	}
	n := int64(b.Bytes)
	x.bytes.Add(n)
	b.CaughtUp = true
	again := b.Release
	b.Release = func() {
		if again != nil {
			again()
		}
		if left := x.bytes.Add(-n); left <= x.limit && left+n > x.limit {
			x.e.pokeAll()
		}
	}
	p.Hand(b, parcel)
	if w := p.worker.Load(); w != nil {
		w.poke()
	}
}

// drain lets nothing more in, and waits until nothing is under way and nothing is held back for the end of the epoch.
// Workers help one after the other. No task steps after it, until release.
func (x *exchange) drain(ctx context.Context) error {
	if !x.e.prog.Memory {
		return nil
	}
	x.held.Store(true)
	for {
		worked := false
		for _, w := range x.e.workers {
			if !w.do(ctx, func() { worked = w.step(ctx) || worked }) {
				return fmt.Errorf("drain the exchange: %w", ctx.Err())
			}
		}
		if worked {
			continue
		}
		if x.bytes.Load() == 0 {
			x.frozen.Store(true)
			if err := x.flush(ctx); err != nil || x.bytes.Load() == 0 {
				return err
			}
			x.frozen.Store(false)
			continue
		}
		select {
		case err := <-x.e.failed: // a task that has failed reads no more
			return err
		default:
		}
	}
}

// flush lets all tasks emit what they emit once an epoch.
func (x *exchange) flush(ctx context.Context) (err error) {
	for _, w := range x.e.workers {
		if !w.do(ctx, func() { err = errors.Join(err, w.flush(ctx)) }) {
			return fmt.Errorf("drain the exchange: %w", ctx.Err())
		}
	}
	return err
}

func (x *exchange) release() {
	x.frozen.Store(false)
	if x.held.Swap(false) {
		x.e.pokeAll()
	}
}

func (e *engine) pokeAll() {
	for _, w := range e.workers {
		w.poke()
	}
}

// counts are the numbers of partitions of topics and exchanges.
func (e *engine) counts() map[string]int32 { return e.prog.Counts(e.session) }

// ownsAll says that every partition of every source is assigned to this instance.
func (e *engine) ownsAll(counts map[string]int32) bool {
	if e.sharded != nil { // such a session owns all, or refuses to open
		return true
	}
	for _, sub := range e.prog.Subtopologies {
		for _, in := range sub.Inputs {
			for p := range counts[in.Port.Name] {
				if !in.Port.Memory && !e.assigned[source.Partition{Stream: in.Port.Name, Index: p}] {
					return false
				}
			}
		}
	}
	return true
}
