// Package streamtest runs a topology in a test, without a broker: records are piped in, time is moved by hand, results
// are drained.
//
//	d := streamtest.New(t, topology)
//	d.Pipe("txns", at, Txn{Card: "c1", Amount: 10}, Txn{Card: "c1", Amount: 5})
//	d.Advance(at.Add(2 * time.Hour))
//	got := d.Drain[Feature]("card-features")
//
// Only the outermost shell is replaced. The tasks, the state store, the commits and the restores are those of
// production, run step by step on the goroutine of the test; the broker is a log in memory with transactions; nothing
// is left to chance, so that a test that passes once passes always.
//
// # When things happen
//
// Pipe, Advance and AdvanceWall return when all that they have caused is done: records are processed one by one, the
// epoch is committed, what went through repartition topics is processed and committed in turn, and so on until nothing
// is left to do. With ManualCommit nothing is committed before Commit is called; as in production, results can then not
// be drained before that, and records do not come out of a repartition topic.
//
// # Time
//
// There are two clocks. The wall clock begins at Start, or with the first record, and moves forward only: AdvanceWall
// moves it, and so does a record that is piped in with a later time, as if it were written at that moment. What the wall clock does (timers,
// idle partitions) is done before the record is read. Event time is what records make it: it moves when they are read,
// by the topology's own rules. Advance moves it without a record.
//
// # Failures
//
// Restart stops the application in good order and starts it again. Crash kills it at a given step of its next commit,
// Kill at once; it is started again from what is committed. WipeState loses its disk. A topology that is right has the
// same results in all of these cases, and it costs one line to see that yours has.
package streamtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/checkpoint"
	engine "github.com/millstream-go/millstream/internal/runtime"
	"github.com/millstream-go/millstream/internal/store"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/stream"
)

// TB is the part of testing.TB that a Driver uses. *testing.T, *testing.B and *testing.F have it.
type TB interface {
	// Helper marks its caller as a helper, whose line is not the one to be reported.
	Helper()
	// Fatalf ends the test.
	Fatalf(format string, args ...any)
	// Cleanup registers a function to be called when the test has ended.
	Cleanup(func())
}

// Driver runs one topology. It is for one goroutine. Mistakes in its use, and an application that stops, fail the test
// at once.
type Driver struct {
	t    TB
	o    options
	ctx  context.Context
	prog *engine.Program
	ends []engine.End
	log  *broker
	disk store.Options // whose file system outlives the process
	// blocks are cached for all the processes: each finds none of an earlier one's.
	blocks *store.BlockCache
	now    int64
	// timed: the wall clock has been set.
	timed bool
	turn  map[string]int32 // partition of the next record without a key, by topic
	read  map[string]int   // records drained, by topic
	bad   []Bad
	seen  map[string]bool // bad records that were reported
	err   error           // why the application has stopped
	// explain notes what has become of records; nil without the option. described is the topology's description, for it.
	explain   *explainer
	described string

	// Of the process: lost in a crash.
	store     *store.Store
	session   *session
	committer *checkpoint.Committer
	slots     []*slot
	calls     []*call // under way
	epoch     uint64
	starts    int
	steps     int                // since the last commit
	deadly    []Step             // the steps at which Crash kills
	overlap   bool               // an epoch is being committed while the next one goes on
	waiting   []sink.Record      // that the next one has written
	followed  map[*partition]int // places in the partitions of global tables up to which they were read
}

// slot is a task and what feeds it.
type slot struct {
	task  *task.Task
	feeds []*feed
}

// New starts the topology on a broker without records. It ends with the test.
func New(t TB, topo *stream.Topology, opts ...Option) *Driver {
	t.Helper()
	o := options{app: "test", keyGroups: 8, partitions: 1, topics: map[string]int32{}, limits: map[string]connect.Limits{}, cache: 64 << 20, batch: 1,
		start: firstDay()}
	for _, f := range opts {
		f(&o)
	}
	if err := o.checkExplain(); err != nil {
		t.Fatalf("streamtest: %v", err)
		return nil
	}
	d := &Driver{t: t, o: o, ctx: context.Background(), now: o.start.UnixMilli(), timed: !o.start.Equal(firstDay()), turn: map[string]int32{}, read: map[string]int{}, seen: map[string]bool{}}
	if o.explain {
		d.explain = &explainer{last: map[string]string{}}
	}
	if !d.compile(topo) {
		return nil
	}
	d.log = newBroker(d)
	d.blocks = store.NewBlockCache()
	t.Cleanup(d.blocks.Close)
	d.disk = d.newDisk()
	d.start()
	t.Cleanup(d.close)
	return d
}

// compile makes a program of the topology.
func (d *Driver) compile(topo *stream.Topology) bool {
	d.t.Helper()
	var err error
	if d.prog, d.ends, err = topo.Program(d.o.app, d.o.semantics); err != nil {
		d.t.Fatalf("streamtest: the topology has mistakes:\n%v", err)
		return false
	}
	if d.explain != nil {
		d.described = topo.Describe(stream.JSON)
	}
	if d.o.exchange == stream.InMemory {
		d.prog.InMemory()
	}
	return true
}

// firstDay is where the wall clock begins.
func firstDay() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

// newDisk is an empty disk.
func (d *Driver) newDisk() store.Options {
	exchange := "topic"
	if d.prog.Memory {
		exchange = "memory"
	}
	return store.Options{FS: store.CrashableFS(), AppID: d.o.app, KeyGroups: d.o.keyGroups, Exchange: exchange, Stores: d.prog.Stores, Cache: d.blocks, Logger: slog.New(slog.DiscardHandler)}
}

// start is what the application does when its process starts: open the state, open the session, restore the tasks.
func (d *Driver) start() {
	d.t.Helper()
	d.err = nil
	if err := d.open(); err != nil {
		if errors.Is(err, errKilled) {
			d.reborn()
			return
		}
		d.stop(fmt.Errorf("start: %w", err))
	}
}

func (d *Driver) open() (err error) {
	d.starts++
	d.steps, d.waiting = 0, nil
	if d.store == nil {
		if d.store, err = store.OpenMem(d.disk); err != nil {
			return err
		}
	}
	owner := fmt.Sprintf("process-%d", d.starts)
	d.session = d.log.session(d.prog.Topics(connect.App{ID: d.o.app, Guarantee: d.o.guarantee}))
	d.committer = &checkpoint.Committer{Session: d.session, Store: d.store, Guarantee: d.o.guarantee, Owner: owner, Produce: d.produce}
	d.epoch++
	d.slots, d.calls = nil, nil
	alignment := d.prog.Alignment()
	d.followed = map[*partition]int{}
	for _, g := range d.prog.Globals {
		g.Reset()
	}
	if err := d.follow(); err != nil {
		return err
	}
	for _, sub := range d.prog.Subtopologies {
		spec := &task.Spec{Subtopology: sub.Name, Owner: owner, Changelog: sub.Changelog, KeyGroups: d.o.keyGroups}
		spec.MaxHeld.Store(d.o.cache)
		for p := range sub.Tasks(d.counts()) {
			s := &slot{task: d.prog.NewTask(sub, spec, p, d.session, d.o.guarantee, d.store.View(p), d.note)}
			s.task.Call = d.caller(s.task)
			s.task.Align(alignment)
			d.slots = append(d.slots, s)
			if err := d.restore(s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Driver) restore(s *slot) error {
	r, err := checkpoint.Restore(d.ctx, d.session, d.store, s.task, d.o.guarantee, d.wall(), d.prog.Inputs(s.task, d.counts()))
	if err != nil {
		return err
	}
	if err := s.task.OpenLedger(); err != nil {
		return err
	}
	caughtUp, err := d.session.Start(d.ctx, r.Start)
	if err != nil {
		return err
	}
	for _, port := range s.task.Ports {
		at := r.Start[port.Part]
		port.Start(at, slices.Contains(caughtUp, port.Part))
		if at != nil {
			d.committer.Started(port.Part, *at)
		}
		if port.Spec.Memory {
			s.feeds = append(s.feeds, &feed{port: port})
			continue
		}
		s.feeds = append(s.feeds, &feed{port: port, part: d.log.partition(port.Part), next: d.session.started[port.Part]})
	}
	return nil
}

// counts are the numbers of partitions of topics and exchanges.
func (d *Driver) counts() map[string]int32 { return d.prog.Counts(d.session) }

func (d *Driver) wall() time.Time { return time.UnixMilli(d.now).UTC() }

// note takes a record that was given up on.
func (d *Driver) note(b task.Bad) {
	if b.Doubted || b.Again {
		return
	}
	if d.explain != nil && b.Partition.Stream != "" {
		d.explain.bad = &b
	}
	if id := b.Operator + " " + b.Partition.String() + " " + b.Position.String(); b.Partition.Stream != "" {
		if d.seen[id] {
			return
		}
		d.seen[id] = true
	}
	d.bad = append(d.bad, Bad{Operator: b.Operator, Site: b.Site, Topic: b.Partition.Stream, Partition: b.Partition.Index, Offset: b.Position.Offset(),
		Policy: b.Policy, Err: b.Err})
}

// stop is what happens when Run would return an error.
func (d *Driver) stop(err error) {
	d.t.Helper()
	d.err = err
	if !d.o.mayStop {
		d.t.Fatalf("streamtest: the application has stopped: %v", err)
	}
}

// Err returns the error with which the application has stopped, as App.Run would; nil while it runs. See MayStop.
func (d *Driver) Err() error { return d.err }

// Restart stops the application in good order (what was processed is committed) and starts it again, on the same disk.
// An application that has stopped with an error is just started again.
func (d *Driver) Restart() {
	d.t.Helper()
	if d.err == nil {
		d.commit()
	}
	d.end(false)
	d.start()
	d.settle(false)
}

// Upgrade stops the application in good order, as Restart does, and starts another version of it, with this topology, on
// the same disk and topics.
func (d *Driver) Upgrade(topo *stream.Topology) {
	d.t.Helper()
	if d.err == nil {
		d.commit()
	}
	d.end(false)
	if !d.compile(topo) {
		return
	}
	d.disk.Stores = d.prog.Stores
	d.log.declare()
	d.start()
	d.settle(false)
}

// Kill ends the process at once, as a power cut would: what was not committed is lost. Then the application is started
// again, on the same disk.
func (d *Driver) Kill() {
	d.t.Helper()
	d.reborn()
	d.settle(false)
}

// reborn kills the process and starts it.
func (d *Driver) reborn() {
	d.end(true)
	d.start()
}

// WipeState loses the disk: the application is stopped, and started again on an empty one. All state comes from the
// changelogs.
func (d *Driver) WipeState() {
	d.t.Helper()
	if d.err == nil {
		d.commit()
	}
	d.end(false)
	d.disk = d.newDisk()
	d.start()
	d.settle(false)
}

// end ends the process.
func (d *Driver) end(kill bool) {
	if d.session != nil {
		d.session.Abort(d.ctx)
	}
	for _, s := range d.slots {
		s.task.Close()
	}
	d.slots, d.session, d.calls = nil, nil, nil
	if d.store == nil {
		return
	}
	var err error
	if kill {
		d.disk.FS, err = d.store.KillClone()
	} else {
		err = d.store.Close()
	}
	if err != nil {
		d.t.Fatalf("streamtest: close the state store: %v", err)
	}
	d.store = nil
}

func (d *Driver) close() { d.end(false) }

// sources are the names of the topics that the topology reads.
func (d *Driver) sources() []string { return slices.Sorted(maps.Keys(d.log.sources)) }

var errKilled = errors.New("killed by the test")

// partitionOf is the partition of a key.
func partitionOf(key []byte, n int32) int32 { return int32(task.Murmur2(key)&0x7fffffff) % n }
