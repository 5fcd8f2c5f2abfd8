package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/checkpoint"
	"github.com/millstream-go/millstream/internal/store"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
)

// engine is one session: from joining the group to leaving it, or to the first failure.
type engine struct {
	cfg       *Config
	prog      *Program
	session   connect.Session
	sharded   connect.Sharded // the session, if it is one; else nil
	store     *store.Store
	owner     string
	log       *slog.Logger
	now       func() int64 // the wall clock, ms since the epoch
	bad       *badLog
	hot       *hotLog
	notes     *sampler
	snapshots *snapshots // nil if there are no snapshots

	out       *outputs
	exchange  *exchange
	alignment *task.Alignment // nil if no source is aligned with others
	workers   []*worker
	committer *checkpoint.Committer
	ticks     *ticks
	queued    atomic.Int64  // bytes in the ports' queues
	epochs    atomic.Uint64 // committed in this session
	urgent    chan struct{}
	events    chan func()
	failed    chan error
	ended     chan struct{} // closed when every source has been read to its end
	// background are the goroutines of the session; gone is closed when the coordinator has ended.
	background sync.WaitGroup
	calls      sync.WaitGroup // of users' functions, see call.go
	gone       chan struct{}
	run        context.Context // ends with the session

	mu       sync.RWMutex
	ports    map[source.Partition]*port
	copies   map[slotKey]*standby // written by the coordinator
	wanted   []source.Partition   // whose tasks' state is to be copied
	follows  chan struct{}        // wanted has changed
	restores atomic.Int32         // that are under way; copies give way to them
	copying  chan struct{}        // as many as may read much at a time; looking: as many as may read
	looking  chan struct{}

	// Of the coordinator.
	assigned map[source.Partition]bool
	slots    map[slotKey]*slot
	specs    map[*Subtopology]*task.Spec
	ending   map[slotKey]chan struct{} // the last standbys; closed when they have ended
	flight   chan error                // of the commit that runs; nil if none does
	left     bool                      // the instance was asked to leave
	landing  landing
	purged   int64                     // ms since the epoch
	over     map[source.Partition]bool // of a sharded session: revoked, and to be left once their tasks are quiet
	epoch    uint64
}

type slotKey struct {
	sub       *Subtopology
	partition int32
}

// slot is a task and where it stands.
type slot struct {
	key    slotKey
	task   *task.Task
	worker *worker // nil while it restores
	stop   context.CancelFunc
	done   chan struct{} // the restore has ended

	progress progress // of the restore
}

// port is a task's port with what Deliver must know.
type port struct {
	*task.Port
	worker atomic.Pointer[worker]
	paused atomic.Bool
	// pausing is held while the session is told of paused, so that it hears things in the order in which they are true.
	pausing sync.Mutex
	ahead   source.Position // committed before processing
}

// runEngine runs a session until ctx ends (nil) or it fails. It calls ready once e may be asked for its status.
func runEngine(ctx context.Context, e *engine, leave <-chan chan error, fault <-chan error, ready func()) error {
	run, cancel := context.WithCancel(context.Background())
	e.run, e.gone = run, make(chan struct{})
	e.urgent, e.events, e.failed = make(chan struct{}, 1), make(chan func(), 64), make(chan error, 1)
	e.ended, e.follows, e.copying, e.looking = make(chan struct{}), make(chan struct{}, 1), make(chan struct{}, 2), make(chan struct{}, 8)
	e.copies, e.ending = map[slotKey]*standby{}, map[slotKey]chan struct{}{}
	e.ports, e.assigned, e.slots, e.specs = map[source.Partition]*port{}, map[source.Partition]bool{}, map[slotKey]*slot{}, map[*Subtopology]*task.Spec{}
	e.over = map[source.Partition]bool{}
	e.out = &outputs{session: e.session, limit: int(e.cfg.outputBytes()), open: e.epoch, held: map[uint64][]written{},
		hold: e.cfg.Guarantee == connect.AtMostOnce, free: e.cfg.Guarantee == connect.AtLeastOnce && !e.session.Transactional()}
	e.out.apart, _ = e.session.(connect.Apart)
	e.exchange = newExchange(e)
	e.alignment = e.align()
	e.ticks = newTicks(e.cfg.CommitEvery)
	e.committer = &checkpoint.Committer{Session: e.session, Store: e.store, Guarantee: e.cfg.Guarantee, Owner: e.owner, Term: e.snapshots.number()}
	for range e.cfg.Workers {
		e.workers = append(e.workers, newWorker(e, e.epoch))
	}
	for _, w := range e.workers {
		e.background.Go(func() { w.run(run) })
	}
	e.committer.Produce, e.committer.Release = e.produce, e.out.release
	e.background.Go(func() {
		if err := e.loadGlobals(run); err != nil {
			e.fail(err)
			return
		}
		if err := e.session.Run(run, e); err != nil {
			e.fail(err)
		}
	})
	if ends, ok := e.session.(connect.Ender); ok && e.prog.bounded() {
		e.background.Go(func() { e.awaitEnd(run, ends) })
	}
	if pace := e.prog.provePace(); pace > 0 {
		if ends, ok := e.session.(connect.Ender); ok {
			e.background.Go(func() { e.prove(run, ends, pace) })
		} else {
			e.log.Warn("the connector cannot tell where partitions end: Watermark.Proven has no effect, and the watermarks of silent partitions stand still")
		}
	}
	e.background.Go(func() { e.watchCopies(run) })
	ready()
	err := e.coordinate(ctx, run, leave, fault)
	close(e.gone)
	closing, done := context.WithTimeout(context.Background(), 5*time.Second)
	defer done()
	if err != nil {
		e.endCommit(closing, cancel)
		e.session.Abort(closing)
	}
	cancel()
	e.session.Close(closing)
	e.background.Wait()
	e.awaitCalls()
	for _, s := range e.slots {
		s.task.Close()
	}
	return err
}

// endCommit lets a commit that is under way come to its end, or ends it, before the session is told to abort.
func (e *engine) endCommit(closing context.Context, cancel context.CancelFunc) {
	if e.flight == nil {
		return
	}
	patience := time.NewTimer(2 * time.Second)
	defer patience.Stop()
	select {
	case <-e.flight:
		return
	case <-patience.C:
	}
	cancel()
	select {
	case <-e.flight:
	case <-closing.Done():
	}
}

func (e *engine) coordinate(ctx, run context.Context, leave <-chan chan error, fault <-chan error) error {
	defer e.ticks.timer.Stop()
	again := false // an epoch was asked for while the last one was being committed
	for {
		select {
		case f := <-e.events:
			f()
		case err := <-e.failed:
			return err
		case err := <-fault:
			return err
		case err := <-e.flight:
			if err := e.landed(run, err); err != nil {
				return err
			}
			if again {
				again = false
				e.hurry()
			}
		case <-e.ticks.came:
			e.ticks.close()
		case <-e.ticks.timer.C:
			if e.ticks.ends() && e.flight == nil {
				if err := e.cut(run, nil); err != nil {
					return err
				}
			}
		case <-e.urgent:
			if again = e.flight != nil; !again {
				if err := e.cut(run, nil); err != nil {
					return err
				}
			}
		case <-e.follows:
			e.follow()
		case reply := <-leave:
			e.left = true
			err := e.settle(run, everything)
			// If that failed, the others process again what was not committed.
			reply <- errors.Join(err, e.resign())
			return err
		case <-e.ended:
			e.log.Info("every source has been read to its end")
			err := e.settle(run, everything)
			if err == nil {
				if err := e.resign(); err != nil {
					e.log.Warn("at the end", "err", err)
				}
			}
			return err
		case <-ctx.Done():
			return e.settle(run, everything)
		}
	}
}

// resign gives up the instance's place in the group.
func (e *engine) resign() error {
	ctx, done := context.WithTimeout(context.Background(), 2*time.Second)
	defer done()
	return e.session.Leave(ctx)
}

// fail ends the session with its first error.
func (e *engine) fail(err error) {
	select {
	case e.failed <- err:
	default:
	}
}

// hurry asks for an epoch before its time.
func (e *engine) hurry() {
	select {
	case e.urgent <- struct{}{}:
	default:
	}
}

// EndEpoch implements connect.EpochEnder.
func (e *engine) EndEpoch() { e.hurry() }

func (e *engine) dirtyLimit() int64 { return e.cfg.dirtyBytes() / int64(len(e.workers)) }

// produce writes what ends an epoch. The epoch is open, and its workers have gone on, so nobody else writes in it.
func (e *engine) produce(ctx context.Context, recs []sink.Record) error {
	return e.session.Produce(ctx, recs)
}

// landing is what is to be done when a commit has ended.
type landing struct {
	epoch  uint64
	limits map[*port]source.Position // of at-most-once
}

// everything leaves: after this cut the workers do nothing any more.
func everything(*task.Task) bool { return true }

// cut ends an epoch and starts its commit. Tasks that leave take no step after it: what they read then would be in no
// later epoch's positions, but what they wrote would be in its transaction.
func (e *engine) cut(run context.Context, leaves func(*task.Task) bool) error {
	if e.exchange.waits() {
		if leaves != nil && e.out.written() { // a source has grown meanwhile: what was written cannot be completed
			return fmt.Errorf("tasks leave while others are restored: %w", connect.ErrRetry)
		}
		return nil
	}
	if err := e.exchange.drain(run); err != nil {
		return err
	}
	defer e.exchange.release()
	var deltas []*task.Delta
	for _, w := range e.workers {
		var err error
		if !w.do(run, func() {
			var d []*task.Delta
			if d, err = w.cut(run); err == nil {
				deltas = append(deltas, d...)
			}
			if leaves != nil {
				w.tasks = slices.DeleteFunc(w.tasks, leaves)
			}
		}) {
			return run.Err()
		}
		if err != nil {
			return err
		}
	}
	l := landing{epoch: e.epoch}
	e.epoch++
	var ahead []connect.PositionCommit
	if e.cfg.Guarantee == connect.AtMostOnce {
		ahead, l.limits = e.ahead()
	}
	if !e.out.written() && len(ahead) == 0 && e.committer.Idle(deltas) {
		e.notes.rest()
		return e.out.next(run, e.epoch)
	}
	flight := make(chan error, 1)
	e.flight, e.landing = flight, l
	next, now := e.epoch, time.UnixMilli(e.now())
	e.background.Go(func() {
		err := e.out.ensure()
		if err == nil {
			err = e.committer.Commit(run, deltas, now)
		}
		if err == nil && e.cfg.Guarantee == connect.AtMostOnce {
			err = e.committer.Ahead(run, ahead)
		}
		if err == nil {
			err = e.out.next(run, next)
		}
		flight <- err
	})
	return nil
}

// landed goes on after a commit.
func (e *engine) landed(run context.Context, err error) error {
	l := e.landing
	e.flight = nil
	if err != nil {
		return err
	}
	e.epochs.Add(1)
	e.notes.epoch(e.committer.Durations())
	e.purge(run)
	e.leaveOver(run)
	for p, at := range l.limits {
		if w := p.worker.Load(); w != nil {
			w.do(run, func() { p.Limit(at) })
		}
	}
	for _, w := range e.workers {
		select {
		case w.ctl <- func() {
			for _, t := range w.tasks {
				t.Applied(l.epoch)
			}
		}:
		case <-run.Done():
			return run.Err()
		}
	}
	return nil
}

// purgeEvery is how often what was read from repartition topics is deleted there.
const purgeEvery = 30 * time.Second

// purge deletes from the repartition topics what has been processed for good. Their retention never does.
func (e *engine) purge(run context.Context) {
	if e.now()-e.purged < purgeEvery.Milliseconds() || e.prog.Memory {
		return
	}
	e.purged = e.now()
	topics := map[string]bool{}
	for _, sub := range e.prog.Subtopologies {
		for _, w := range sub.Writes {
			topics[w.Name] = true
		}
	}
	below := e.committer.Committed(topics)
	if len(below) == 0 {
		return
	}
	e.background.Go(func() {
		if err := e.session.Purge(run, below); err != nil && run.Err() == nil {
			e.log.Warn("purge repartition topics; tried again later", "err", err)
		}
	})
}

// settle ends and commits the open epoch, whatever is in flight.
func (e *engine) settle(run context.Context, leaves func(*task.Task) bool) error {
	for _, step := range []func() error{func() error { return nil }, func() error { return e.cut(run, leaves) }} {
		if err := step(); err != nil {
			return err
		}
		if e.flight == nil {
			continue
		}
		select {
		case err := <-e.flight:
			if err := e.landed(run, err); err != nil {
				return err
			}
		case err := <-e.failed:
			return err
		}
	}
	return nil
}

// ahead lists the ends of the queues, for at-most-once.
func (e *engine) ahead() (list []connect.PositionCommit, limits map[*port]source.Position) {
	limits = map[*port]source.Position{}
	e.mu.RLock()
	defer e.mu.RUnlock()
	for part, p := range e.ports {
		if p.worker.Load() == nil {
			continue
		}
		if end, ok := p.QueueEnd(); ok && end != p.ahead {
			list = append(list, connect.PositionCommit{Partition: part, Next: end, Metadata: "1 - 0 0"})
			limits[p], p.ahead = end, end
		}
	}
	return list, limits
}
