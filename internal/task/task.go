// Package task is the engine without its shell. A Task is one subtopology on one partition: a step function that
// reads records from its ports, runs them through the compiled chain, moves the watermark, and fires what is due. It
// starts no goroutine, reads no clock, and talks to nobody: the runtime calls Step, takes the outbox along, and calls
// Cut at the end of an epoch.
//
// A task has one owner at a time. Only Port.Offer and Port.Queued may be called by others.
package task

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/millstream-go/millstream/internal/eventtime"
)

// State is where a task is in its life: created -> restoring -> running -> closed.
type State uint8

// The states.
const (
	Created State = iota
	Restoring
	Running
	Closed
)

func (s State) String() string { return [...]string{"created", "restoring", "running", "closed"}[s] }

// View is the part of the store that belongs to a task. Its slices are valid during the call.
type View interface {
	Get(key, dst []byte) (val []byte, found bool, err error)
	// GetSorted calls f for each of the keys, which are in ascending order. The value is good during the call.
	GetSorted(keys [][]byte, f func(i int, val []byte, found bool) error) error
	Scan(lo, hi []byte, f func(key, value []byte) error) error
	// Last appends the last key with lo <= key < hi to dst, if there is one.
	Last(lo, hi, dst []byte) (key []byte, found bool, err error)
}

// Prefetcher is an operator that reads from the store what a port's next records will need, before they are run.
type Prefetcher interface {
	// Prefetch is told how many there are, and the key of each.
	Prefetch(p *Port, n int, key func(i int) []byte) error
}

// Timed is an operator that acts when the watermark moves.
type Timed interface {
	// Due is the smallest watermark at which Advance has something to do; math.MaxInt64 if there is none.
	Due() int64
	Advance(c *Ctx, w int64)
	// Clock is the watermark that the operator goes by.
	Clock() *Clock
}

// WallTimed is an operator with wall-clock timers.
type WallTimed interface {
	WallDue() int64
	AdvanceWall(c *Ctx, now int64)
}

// Stateful is an operator with state.
type Stateful interface {
	// Restore makes the operator go on from what is in the store.
	Restore(m *Marker) error
	// Cut hands over what has changed since the last cut.
	Cut(d *Delta) error
	// Applied says that the epoch, and all before it, is in the store.
	Applied(epoch uint64)
	// Changed is about how many bytes the next Cut will hand over; Held is what is kept in memory.
	Changed() int
	Held() int
	// StoreID is the number of the store in keys.
	StoreID() uint32
}

// Flusher is an operator that emits once per epoch. It is called before Cut, in topological order; a second call emits
// what has changed since the first.
type Flusher interface {
	Flush(c *Ctx)
}

// Closer is a stateful operator that closes windows or fires timers.
type Closer interface {
	ClosedThrough() MarkerClosed
}

// Operator is what is said of an operator in errors and counts.
type Operator struct {
	Name string
	Site string // file:line of its declaration
	Counts
}

// Clock is the watermark of the operators that have the same inputs.
//
// Some operators emit when time moves: they have held results back. Those behind them must not see the time move first,
// and may have to see less of it (see plan.Node.Delay). Such clocks have a stage, one more than that of the operators
// that hold results back, and move when all stages before theirs have acted.
type Clock struct {
	W      int64
	inputs []*eventtime.Input
	delays []int64 // by input; nil: none
	holds  []*Hold
	stage  int
	next   int64 // what W becomes once the stages before have acted
	due    int64
}

// ClockInput is an input that a clock depends on, and by how much less of its time the clock shows, in ms.
type ClockInput struct {
	Name  string
	Delay int64
}

func (k *Clock) merge() (int64, bool) {
	if len(k.inputs) == 1 && k.delays == nil {
		return k.inputs[0].Watermark, !k.inputs[0].Idle
	}
	if k.delays == nil {
		return eventtime.Merge(k.inputs)
	}
	w, ok := int64(eventtime.End), false
	for i, in := range k.inputs {
		if !in.Idle {
			ok = true
			w = min(w, max(in.Watermark, eventtime.None+k.delays[i])-k.delays[i])
		}
	}
	return w, ok
}

// Latest is the watermark that the clock shows, or will as soon as the operators before it have acted: the task has told none that is later.
func (k *Clock) Latest() int64 {
	w, ok := k.merge()
	if !ok {
		return k.W
	}
	return max(k.W, w)
}

// now is the watermark that the clock may show: that of its inputs, unless records are kept that it must not overtake.
func (k *Clock) now() int64 {
	w := k.next
	for _, h := range k.holds {
		w = min(w, h.W)
	}
	return w
}

// Resume raises the watermark to the one that the store was left at. It can be higher than the inputs' smallest: an input
// that was idle, and came back, does not take the watermark back with it.
func (k *Clock) Resume(m *Marker, store uint32) {
	if m == nil {
		return
	}
	for _, c := range m.Closed {
		if c.Store == store {
			k.W = max(k.W, c.Through)
			k.next = max(k.next, k.W)
		}
	}
}

// Need says that an operator has something to do at the watermark w.
func (k *Clock) Need(w int64) { k.due = min(k.due, w) }

// Spec is what all tasks of a subtopology have in common.
type Spec struct {
	Subtopology string
	Owner       string // the incarnation of this process
	Changelog   string // topic; "" for a task that keeps nothing
	KeyGroups   int
	MaxHeld     atomic.Int64 // bytes that the caches of one task may hold
}

// Task is one subtopology on one partition.
type Task struct {
	Spec      *Spec
	Partition int32
	Ports     []*Port
	Out       Outbox
	Cross     Cross
	Operators []Operator
	View      View
	Now       int64 // the wall clock as of this step, ms since the epoch
	Marker    *Marker
	Hold      bool // sources are not read, only what other tasks of this process hand over
	// Call makes a call, and hands in its answer later. It is set by whoever runs the task, before Restore.
	Call func(Call)

	state    State
	ctx      Ctx
	clocks   []*Clock
	timed    []Timed
	wall     []WallTimed
	stateful []Stateful
	entries  []Entry // none: what the next Cut fills
	flushers []Flusher
	// followers are told the times of records; ahead is the largest so far.
	followers   []Follower
	prefetchers []Prefetcher
	ahead       int64
	carries     []carry
	touched     bool
	moved       bool
	staged      bool // some clock has a stage
	primed      bool // its tables have been read to the end that they had at start
	lacks       bool // pick found that a port without a record may still get the earliest one
	stood       bool // then the records of others stand, see Port.Stands
	err         error
	answers     answers
	alignment   *Alignment // nil: there is none
	retryAt     int64      // the wall clock at which a record is tried again; until then none is read. 0: at once
	full        int        // operators that take no more records
	settled     int        // what the caches held when an epoch was applied last, see Grown
	changes     []Undoer
	flows       []flow
	kept        map[int32]int // records that operators held when the task began, by operator; see OpenLedger
	unwound     bool          // a user's function has panicked
	logged      map[string]bool
	onBad       func(Bad)
}

// Gatherer is an operator that adds records up before it sends them to other tasks.
type Gatherer interface {
	// Gathered says that something is held back, and that it is as much as may be.
	Gathered() (some, full bool)
	// Due says that it must be sent, if the watermark that was sent last is this, and now is that: what waits must not be
	// overtaken by a watermark that makes it late.
	Due(sent, now int64) bool
	// Send hands over what is held back.
	Send(c *Ctx)
	Held() int // in bytes
}

type carry struct {
	stream string
	clock  *Clock
	memory bool
	gather Gatherer // what is written to the stream; nil: records, as they come
	sent   Carry
	seen   int64 // the watermark that the tasks behind have seen, from this task or from one before it
}

// New makes a task with its ports. The chain is then compiled onto it, and Ready called.
func New(spec *Spec, partition int32, ports []*Port, view View, onBad func(Bad)) *Task {
	t := &Task{Spec: spec, Partition: partition, Ports: ports, View: view, onBad: onBad, logged: map[string]bool{}, ahead: eventtime.None, kept: map[int32]int{}}
	t.ctx.Task = t
	for _, p := range ports {
		p.seen, p.most = eventtime.None, eventtime.End
		p.Time = eventtime.NewBounded(p.Spec.Bound)
		p.guard = eventtime.Guard{Most: p.Spec.MaxJump, Confirm: p.Spec.Confirm}
		p.Input = eventtime.Input{Watermark: eventtime.None}
		if p.Spec.Repartition {
			p.Carried = eventtime.NewCarried(p.Spec.Upstream)
			p.Input = p.Carried.Input()
		}
	}
	return t
}

// ID is subtopology_partition.
func (t *Task) ID() string { return t.Spec.Subtopology + "_" + strconv.Itoa(int(t.Partition)) }

// State is where the task is in its life.
func (t *Task) State() State { return t.state }

// Err is why the task cannot go on, or nil.
func (t *Task) Err() error { return t.err }

// Ctx is the task's context, for operators that emit on their own account.
func (t *Task) Ctx() *Ctx { return &t.ctx }

// AddOperator names an operator and returns its number.
func (t *Task) AddOperator(name, site string) int32 {
	t.Operators = append(t.Operators, Operator{Name: name, Site: site})
	return int32(len(t.Operators) - 1)
}

// Clock returns the clock of operators behind the ports of these inputs, with so many operators that hold results back
// between, and these that keep records.
func (t *Task) Clock(inputs []ClockInput, stage int, holds ...*Hold) *Clock {
	k := &Clock{W: eventtime.None, next: eventtime.None, due: math.MaxInt64, stage: stage, holds: holds}
	var ports []*Port
	delayed := false
	for _, p := range t.Ports {
		for _, in := range inputs {
			if p.Spec.Name == in.Name {
				ports = append(ports, p)
				k.inputs, k.delays = append(k.inputs, &p.Input), append(k.delays, in.Delay)
				delayed = delayed || in.Delay > 0
			}
		}
	}
	if !delayed {
		k.delays = nil
	}
	for _, same := range t.clocks {
		if same.stage == stage && slices.Equal(same.inputs, k.inputs) && slices.Equal(same.delays, k.delays) && slices.Equal(same.holds, k.holds) {
			return same
		}
	}
	for _, p := range ports {
		p.clocks = append(p.clocks, k)
	}
	t.clocks = append(t.clocks, k)
	t.staged = t.staged || stage > 0
	return k
}

// The compiler works from the sinks up, so operators come in against the order in which they must act; Ready turns it.

// AddTimed adds an operator that acts when the watermark moves.
func (t *Task) AddTimed(o Timed) { t.timed = append(t.timed, o) }

// AddWallTimed adds an operator with wall-clock timers.
func (t *Task) AddWallTimed(o WallTimed) { t.wall = append(t.wall, o) }

// AddStateful adds an operator with state.
func (t *Task) AddStateful(o Stateful) { t.stateful = append(t.stateful, o) }

// AddPrefetcher adds an operator that reads ahead.
func (t *Task) AddPrefetcher(o Prefetcher) { t.prefetchers = append(t.prefetchers, o) }

// AddFlusher adds an operator that emits once per epoch.
func (t *Task) AddFlusher(o Flusher) { t.flushers = append(t.flushers, o) }

// AddCarry sends the watermark of the clock along to the tasks behind a repartition: in memory after each step, unless it
// waits for what is gathered (nil: nothing is); through a topic once an epoch.
func (t *Task) AddCarry(stream string, k *Clock, memory bool, gather Gatherer) {
	t.carries = append(t.carries, carry{stream: stream, clock: k, memory: memory, gather: gather, sent: Carry{Watermark: eventtime.None}, seen: eventtime.None})
}

// Moved returns the watermarks for tasks of this process that have moved since it was called last.
func (t *Task) Moved() (list []Carry) {
	for i := range t.carries {
		if c := &t.carries[i]; c.memory {
			if now := t.carry(c); now != c.sent {
				c.sent, c.seen = now, max(c.seen, now.Watermark)
				list = append(list, now)
			}
		}
	}
	return list
}

// carry is the watermark that a stream may see now. In memory it does not pass what is gathered.
func (t *Task) carry(c *carry) Carry {
	if c.memory && c.gather != nil {
		if some, _ := c.gather.Gathered(); some {
			return Carry{c.stream, t.Partition, c.sent.Watermark, c.sent.Idle}
		}
	}
	return t.newest(c)
}

// resumed notes the watermarks that the task goes on from. Others have seen them.
func (t *Task) resumed() {
	for i := range t.carries {
		if w, ok := t.carries[i].clock.merge(); ok {
			t.carries[i].seen = w
		}
	}
}

func (t *Task) newest(c *carry) Carry {
	w, idle := c.clock.W, true
	for _, in := range c.clock.inputs {
		idle = idle && in.Idle
	}
	for _, h := range c.clock.holds {
		idle = idle && h.W == math.MaxInt64
	}
	return Carry{c.stream, t.Partition, w, idle}
}

// send hands over what is gathered and must not wait any longer.
func (t *Task) send() {
	defer t.recoverTimer()
	for i := range t.carries {
		c := &t.carries[i]
		if c.gather == nil {
			continue
		}
		some, full := c.gather.Gathered()
		if !some {
			continue
		}
		now := c.seen // through a topic it is sent at the end of the epoch
		must := full
		if c.memory {
			newest := t.newest(c)
			now = newest.Watermark
			must = must || t.Hold || newest.Idle != c.sent.Idle
		}
		if must || c.gather.Due(c.seen, now) {
			t.keep()
			c.gather.Send(&t.ctx)
		}
	}
}

// Send hands over all that is gathered for other tasks of this process. It says whether there was anything.
func (t *Task) Send() (sent bool, err error) {
	if t.state != Running || t.err != nil {
		return false, t.err
	}
	before := len(t.Cross.sent)
	hold := t.Hold
	t.Hold = true
	t.send()
	t.Hold = hold
	return len(t.Cross.sent) > before, t.err
}

// Ready ends the compilation.
func (t *Task) Ready() {
	slices.Reverse(t.timed)
	slices.Reverse(t.wall)
	slices.Reverse(t.flushers)
	slices.Reverse(t.followers)
	slices.SortStableFunc(t.timed, func(a, b Timed) int { return a.Clock().stage - b.Clock().stage })
	t.state = Restoring
}

// Restore makes the task go on from what the store holds, and lets it run.
func (t *Task) Restore() error {
	val, found, err := t.View.Get(MarkerKey(t.Spec.Subtopology), nil)
	if err != nil {
		return fmt.Errorf("task %s: read epoch marker: %w", t.ID(), err)
	}
	if found {
		if t.Marker, err = DecodeMarker(val); err != nil {
			return fmt.Errorf("task %s: %w", t.ID(), err)
		}
		for _, in := range t.Marker.Inputs {
			for _, p := range t.Ports {
				if p.Part.Stream == in.Stream && p.Part.Index == in.Index {
					p.seen, p.Time.Max = in.Max, in.Max
					p.guard.Waiting = slices.Clone(in.Waiting)
					p.Input = eventtime.Input{Watermark: in.Watermark, Idle: in.Idle}
					for i, u := range in.Carried {
						p.Carried.Observe(i, u.Watermark, u.Idle)
					}
				}
			}
		}
	}
	restore := func(holders bool) error {
		for _, s := range t.stateful {
			if _, ok := s.(Holder); ok == holders {
				if err := s.Restore(t.Marker); err != nil {
					return fmt.Errorf("task %s: restore: %w", t.ID(), err)
				}
			}
		}
		return nil
	}
	if err := restore(true); err != nil {
		return err
	}
	for _, k := range t.clocks {
		if w, ok := k.merge(); ok {
			k.next = w
			k.W = k.now()
		}
	}
	if err := restore(false); err != nil {
		return err
	}
	t.resumed()
	t.rearm()
	t.state = Running
	return nil
}

// Close releases what the ports hold.
func (t *Task) Close() {
	if t.alignment != nil {
		t.alignment.show(t.Ports, true)
	}
	t.state = Closed
	for _, p := range t.Ports {
		p.close()
	}
}

// Watermark is the smallest watermark of the task's operators, or eventtime.None.
func (t *Task) Watermark() int64 {
	w := int64(eventtime.End)
	for _, p := range t.Ports {
		if !p.Input.Idle {
			w = min(w, p.Input.Watermark)
		}
	}
	if w == eventtime.End {
		return eventtime.None
	}
	return w
}

// Fail ends the task for a reason that is not a record's, such as a store that cannot be read.
func (t *Task) Fail(err error) { t.err = errors.Join(t.err, err) }
