package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/checkpoint"
	"github.com/millstream-go/millstream/internal/store"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/onerror"
)

// App runs a program.
type App struct {
	cfg     Config
	prog    *Program
	running atomic.Pointer[context.CancelFunc] // ends Run; nil while it does not run
	leave   chan chan error
	engine  atomic.Pointer[engine]
	fault   chan error
	notes   *sampler
}

// NewApp makes an application that is not running.
func NewApp(cfg Config, prog *Program) *App {
	a := &App{cfg: cfg, prog: prog, leave: make(chan chan error), fault: make(chan error, 1)}
	a.notes = newSampler(&a.cfg)
	return a
}

// Run runs the application until ctx ends, or until something stops it that trying again cannot mend.
func (a *App) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !a.running.CompareAndSwap(nil, &cancel) {
		return ErrRunning
	}
	defer a.running.Store(nil)
	st, snapshots, err := a.openStore(ctx)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil // while a snapshot was fetched
	}
	if err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	instance := a.instance(st)
	stop := a.beside(ctx, st, instance, snapshots)
	over := make(chan struct{})
	var full sync.WaitGroup
	full.Go(func() { endIfFull(ctx, st, over) })
	err = a.sessions(ctx, st, instance, snapshots)
	cancel()
	stop()
	if err == nil {
		snapshots.last()
	}
	close(over)
	full.Wait()
	if cerr := st.Close(); cerr != nil {
		err = errors.Join(err, fmt.Errorf("close state: %w", cerr))
	}
	return err
}

// fullPatience is how long an application that is to end waits for space on a full disk.
const fullPatience = 2 * time.Second

// endIfFull closes the store of an application that is to end and whose disk stays full: what waits for space would wait on,
// and Run for it. What was committed and is not in the store is in the changelog.
func endIfFull(ctx context.Context, st *store.Store, over <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-over:
		return
	}
	const look = 50 * time.Millisecond
	tick := time.NewTicker(look)
	defer tick.Stop()
	for full := time.Duration(0); full < fullPatience; full += look {
		select {
		case <-tick.C:
		case <-over:
			return
		}
		if !st.Full() {
			full = 0
		}
	}
	_ = st.Close() // Run returns its error
}

// beside starts what runs beside the sessions, as long as the application does.
func (a *App) beside(ctx context.Context, st *store.Store, instance string, snapshots *snapshots) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	if a.notes != nil {
		a.notes.begin(instance)
		running.Go(func() { a.notes.run(ctx, a.engine.Load, st) })
	}
	if snapshots != nil {
		running.Go(func() { a.takeSnapshots(ctx, snapshots) })
		running.Go(func() { a.watchTerm(ctx, snapshots) })
	}
	return func() {
		cancel()
		running.Wait()
	}
}

// onFault is called when the disk fails. A full disk is waited for; the store holds its writers back meanwhile.
func (a *App) onFault(err error) {
	a.cfg.Logger.Error("state directory", "err", err)
	if errors.Is(err, store.ErrDiskFull) {
		return
	}
	select {
	case a.fault <- err:
	default:
	}
}

func (a *App) onRecover() { a.cfg.Logger.Info("state directory: there is room again") }

// sessions runs one session after the other. A session that fails for a passing reason is followed by a new one, which
// begins from what is committed.
func (a *App) sessions(ctx context.Context, st *store.Store, instance string, snapshots *snapshots) error {
	owner := uuid.NewString()
	bad, hot := newBadLog(a.cfg.Logger), newHotLog(a.cfg.Logger)
	var epoch uint64 = 1
	var fenced []time.Time
	for try := 0; ; try++ {
		session, err := a.cfg.Connector.Open(ctx, a.app(instance, owner))
		if err == nil {
			sharded, _ := session.(connect.Sharded)
			err = a.prog.aligned(session.Partitions())
			if sharded != nil {
				if err = a.runsSharded(); err == nil {
					err = snapshots.bringBack(ctx, st)
				}
			}
			if err != nil {
				session.Close(ctx)
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			session = withFiles(session, a.prog, a.cfg.Guarantee, a.cfg.Logger)
			e := &engine{cfg: &a.cfg, prog: a.prog, session: session, sharded: sharded, store: st, owner: owner, log: a.cfg.Logger, bad: bad, hot: hot, notes: a.notes, snapshots: snapshots, epoch: epoch,
				now: func() int64 { return time.Now().UnixMilli() }}
			a.notes.session()
			err = runEngine(ctx, e, a.leave, a.fault, func() { a.engine.Store(e) })
			a.engine.Store(nil)
			a.notes.over(e)
			epoch = e.epoch + 2
			if e.epochs.Load() > 0 {
				try = 0
			}
			if err == nil || e.left {
				return nil // whoever asked to leave was told of an error
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if epoch == 1 {
			return err // nothing ever ran: tell, rather than try for ever
		}
		if final(err) {
			return err
		}
		if errors.Is(err, connect.ErrFenced) {
			fenced = append(fenced, time.Now())
			if n := len(fenced); n >= 5 && time.Since(fenced[n-5]) < 20*time.Second {
				return fmt.Errorf("instance %s is fenced again and again: does another process use its state directory or InstanceID? %w", instance, err)
			}
		}
		wait := min(50*time.Millisecond<<min(try, 7), 5*time.Second)
		a.cfg.Logger.Warn("session ended; going on from the last commit", "err", err, "in", wait)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// final says that trying again would fail again.
func final(err error) bool {
	var bad *task.RecordError
	var panicked *task.PanicError
	var state *task.StateError
	if errors.As(err, &bad) || errors.As(err, &panicked) || errors.As(err, &state) {
		return true
	}
	for _, e := range []error{ErrGrown, store.ErrIO, checkpoint.ErrStateBehind, checkpoint.ErrPositionGone, checkpoint.ErrOtherTasks, connect.ErrStop, connect.ErrDeleted, connect.ErrRecreated} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (a *App) app(instance, owner string) connect.App {
	return a.prog.Topics(connect.App{ID: a.cfg.AppID, Instance: instance, Incarnation: owner, Static: a.cfg.Static, Guarantee: a.cfg.Guarantee,
		CommitEvery: a.cfg.CommitEvery, SessionTimeout: a.cfg.SessionTimeout, Standbys: a.cfg.Standbys, Zone: a.cfg.Zone, FetchBytes: a.cfg.fetchBytes(), OnGap: a.notes.gap, Logger: a.cfg.Logger})
}

// Leave gives the instance's tasks to the others and ends Run, also where it fails. Between two sessions there is nobody
// to leave: the next session does it, if it opens before ctx ends.
func (a *App) Leave(ctx context.Context) error {
	stop := a.running.Load()
	if stop == nil {
		return errors.New("leave: the application is not running")
	}
	reply := make(chan error, 1)
	select {
	case a.leave <- reply:
	case <-ctx.Done():
		(*stop)()
		return fmt.Errorf("leave: no session is open, so the tasks stay with this instance until its session timeout has passed: %w", ctx.Err())
	}
	select {
	case err := <-reply:
		return err
	case <-ctx.Done():
		(*stop)()
		return fmt.Errorf("leave: the last commit takes longer: %w", ctx.Err())
	}
}

// badLog reports bad records: the first few of each operator, then one a minute.
type badLog struct {
	log *slog.Logger
	mu  sync.Mutex
	of  map[string]*badCount
}

type badCount struct {
	n    uint64
	last time.Time
}

func newBadLog(log *slog.Logger) *badLog { return &badLog{log: log, of: map[string]*badCount{}} }

func (l *badLog) note(b task.Bad) {
	l.mu.Lock()
	c := l.of[b.Operator]
	if c == nil {
		c = &badCount{}
		l.of[b.Operator] = c
	}
	c.n++
	say := c.n <= 5 || time.Since(c.last) > time.Minute
	if say {
		c.last = time.Now()
	}
	n := c.n
	l.mu.Unlock()
	if !say {
		return
	}
	what := [...]string{"skipped", "failed", "written to the dead-letter topic"}[b.Policy.Action]
	args := []any{"operator", b.Operator, "declared", b.Site, "task", b.Task, "partition", b.Partition.String(), "position", b.Position.String(), "err", b.Err, "so far", n}
	var p *task.PanicError
	if errors.As(b.Err, &p) {
		args = append(args, "stack", string(p.Stack))
	}
	if b.Policy.Action == onerror.ActionFail && !b.Again {
		return // Run returns it
	}
	if b.Doubted {
		l.log.Warn("the time of a record is not believed", args...)
		return
	}
	if b.Again {
		l.log.Warn("a record has failed, and is tried again", args...)
		return
	}
	l.log.Warn("bad record "+what, args...)
}
