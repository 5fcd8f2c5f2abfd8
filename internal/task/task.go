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
	"runtime/debug"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/millstream-go/millstream/internal/eventtime"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/source"
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
	Scan(lo, hi []byte, f func(key, value []byte) error) error
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

// Flusher is an operator that emits once per epoch. It is called before Cut, in topological order.
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

// Counts is what has become of records at an operator or port.
type Counts struct {
	Records, Late, Skipped, DeadLettered uint64
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

// Resume raises the watermark to the one that the store was left at. It can be higher than the inputs' smallest: an input
// that was idle, and came back, does not take the watermark back with it.
func (k *Clock) Resume(m *Marker, store uint32) {
	if m == nil {
		return
	}
	for _, c := range m.Closed {
		if c.Store == store {
			k.W = max(k.W, c.Through)
			k.next = k.W
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
	Cross     Outbox // for tasks of this process, with the stream as the address
	Operators []Operator
	View      View
	Now       int64 // the wall clock as of this step, ms since the epoch
	Marker    *Marker

	state    State
	ctx      Ctx
	clocks   []*Clock
	timed    []Timed
	wall     []WallTimed
	stateful []Stateful
	flushers []Flusher
	carries  []carry
	touched  bool
	moved    bool
	staged   bool // some clock has a stage
	err      error
	logged   map[string]bool
	onBad    func(Bad)
}

type carry struct {
	stream string
	clock  *Clock
	memory bool
	sent   Carry
}

// Bad is a record that was given up on, as it is reported.
type Bad struct {
	Task, Operator, Site string
	Partition            source.Partition
	Position             source.Position
	Policy               onerror.Policy
	Err                  error
}

// RecordError is a record that stopped the application, because its policy is to fail.
type RecordError struct{ Bad }

func (e *RecordError) Error() string {
	return fmt.Sprintf("operator %s (declared at %s), task %s, record %v of %v: %v", e.Operator, e.Site, e.Task, e.Position, e.Partition, e.Err)
}
func (e *RecordError) Unwrap() error { return e.Err }

// StateError is state that cannot be encoded or decoded. It stops the application: the record that caused it has
// changed the state already, or the state is needed to go on.
type StateError struct {
	Store string
	Doing string // "encode key", "decode state"
	Err   error
}

func (e *StateError) Error() string {
	return "store " + e.Store + ": " + e.Doing + ": " + e.Err.Error()
}
func (e *StateError) Unwrap() error { return e.Err }

// PanicError is a panic of a user's function.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// New makes a task with its ports. The chain is then compiled onto it, and Ready called.
func New(spec *Spec, partition int32, ports []*Port, view View, onBad func(Bad)) *Task {
	t := &Task{Spec: spec, Partition: partition, Ports: ports, View: view, onBad: onBad, logged: map[string]bool{}}
	t.ctx.Task = t
	for _, p := range ports {
		p.seen = eventtime.None
		p.Time = eventtime.NewBounded(p.Spec.Bound)
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
// between.
func (t *Task) Clock(inputs []ClockInput, stage int) *Clock {
	k := &Clock{W: eventtime.None, next: eventtime.None, due: math.MaxInt64, stage: stage}
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
		if same.stage == stage && slices.Equal(same.inputs, k.inputs) && slices.Equal(same.delays, k.delays) {
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

// AddFlusher adds an operator that emits once per epoch.
func (t *Task) AddFlusher(o Flusher) { t.flushers = append(t.flushers, o) }

// AddCarry sends the watermark of the clock along to the tasks behind a repartition: in memory after each step, through
// a topic once an epoch.
func (t *Task) AddCarry(stream string, k *Clock, memory bool) {
	t.carries = append(t.carries, carry{stream: stream, clock: k, memory: memory})
}

// Moved returns the watermarks for tasks of this process that have moved since it was called last.
func (t *Task) Moved() (list []Carry) {
	for i := range t.carries {
		if c := &t.carries[i]; c.memory {
			if now := t.carry(c); now != c.sent {
				c.sent = now
				list = append(list, now)
			}
		}
	}
	return list
}

func (t *Task) carry(c *carry) Carry {
	w, idle := c.clock.W, true
	for _, in := range c.clock.inputs {
		idle = idle && in.Idle
	}
	return Carry{c.stream, t.Partition, w, idle}
}

// Ready ends the compilation.
func (t *Task) Ready() {
	slices.Reverse(t.timed)
	slices.Reverse(t.wall)
	slices.Reverse(t.flushers)
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
					p.Input = eventtime.Input{Watermark: in.Watermark, Idle: in.Idle}
					for i, u := range in.Carried {
						p.Carried.Observe(i, u.Watermark, u.Idle)
					}
				}
			}
		}
	}
	for _, k := range t.clocks {
		if w, ok := k.merge(); ok {
			k.W, k.next = w, w
		}
	}
	for _, s := range t.stateful {
		if err := s.Restore(t.Marker); err != nil {
			return fmt.Errorf("task %s: restore: %w", t.ID(), err)
		}
	}
	t.rearm()
	t.state = Running
	return nil
}

// Close releases what the ports hold.
func (t *Task) Close() {
	t.state = Closed
	for _, p := range t.Ports {
		p.close()
	}
}

// Step does a bounded piece of work: at most n records, then whatever is due. It says whether it did anything. After
// an error the task is of no use.
func (t *Task) Step(now int64, n int) (worked bool, err error) {
	if t.state != Running || t.err != nil {
		return false, t.err
	}
	t.Now = now
	for done := 0; done < n && t.err == nil; {
		p := t.pick()
		if p == nil {
			break
		}
		batch := n - done
		if len(t.Ports) > 1 {
			batch = 1
		}
		k := t.read(p, batch)
		if k == 0 {
			break
		}
		done += k
		worked = true
	}
	if t.err == nil {
		t.idle()
		worked = t.fireWall() || worked
	}
	return worked, t.err
}

// pick chooses the port to read from: the one whose next record is the earliest. That means nothing while a port might
// still deliver an earlier one, so a port without a record must be known to be caught up.
func (t *Task) pick() *Port {
	if len(t.Ports) == 1 {
		if p := t.Ports[0]; p.head() != nil {
			return p
		}
		return nil
	}
	var best *Port
	var bestTime int64
	for _, p := range t.Ports {
		r := p.head()
		if r == nil {
			if !p.caughtUp && !p.limited {
				return nil
			}
			continue
		}
		if h := p.headTime(&t.ctx, r); best == nil || h < bestTime {
			best, bestTime = p, h
		}
	}
	return best
}

// read runs up to n records of a port. One recover serves them all: a panic ends the call, and the next Step goes on
// behind the record that caused it.
func (t *Task) read(p *Port, n int) (done int) {
	var m, x mark
	defer func() {
		if v := recover(); v != nil {
			t.ctx.rejected, t.ctx.policy = &PanicError{Value: v, Stack: debug.Stack()}, nil
			t.Cross.rewind(x)
			t.giveUp(p, &p.cur.Records[p.at], m)
			p.pass()
			done++
		}
	}()
	c := &t.ctx
	for done < n {
		r := p.head()
		if r == nil {
			break
		}
		t.touched = true
		m, x = t.Out.mark(), t.Cross.mark()
		c.Time, c.Key, c.Headers, c.Port = r.Time, r.Key, r.Headers, p
		if p.Spec.Repartition && t.control(p, r) {
			p.pass()
			done++
			continue
		}
		p.Run(c, r)
		if c.rejected != nil {
			t.Cross.rewind(x)
			t.giveUp(p, r, m)
			if t.err != nil {
				return done
			}
		}
		p.pass()
		done++
		if p.seen > p.Time.Max || p.Input.Idle {
			t.observe(p)
		}
		if t.err != nil || t.Out.Bytes+t.Cross.Bytes > 1<<20 {
			break
		}
	}
	p.lastRead = t.Now
	return done
}

// control takes the event time out of a repartition topic's record, or handles a control record.
func (t *Task) control(p *Port, r *source.Record) bool {
	if ms, ok := carriedTime(r); ok {
		t.ctx.Time, t.ctx.Headers = ms, r.Headers[1:]
		return false
	}
	if len(r.Headers) == 0 || r.Headers[0].Key != ControlHeader {
		return false
	}
	ctl, err := DecodeControl(r.Value)
	if err != nil {
		t.err = fmt.Errorf("task %s: record %v of %v: %w", t.ID(), r.Position, p.Part, err)
		return true
	}
	for _, u := range ctl.Tasks {
		p.Carried.Observe(int(u.Task), u.Watermark, u.Idle)
	}
	if in := p.Carried.Input(); in.Idle {
		p.Input.Idle = true
	} else {
		p.Input = eventtime.Input{Watermark: max(in.Watermark, p.Input.Watermark)}
	}
	t.tick(p)
	return true
}

// observe moves a source port's watermark.
func (t *Task) observe(p *Port) {
	if p.Spec.Repartition {
		return
	}
	w, _ := p.Time.Observe(p.seen)
	p.Input = eventtime.Input{Watermark: max(w, p.Input.Watermark)}
	t.tick(p)
}

// tick moves the clocks behind a port, and fires what is due.
func (t *Task) tick(p *Port) {
	fire := false
	for _, k := range p.clocks {
		if w, ok := k.merge(); ok && w > k.next {
			k.next = w
			if k.stage == 0 {
				k.W = w
			}
			t.moved = true
			fire = fire || w >= k.due
		}
	}
	if fire {
		t.fire()
	} else if t.staged {
		t.show(math.MaxInt)
	}
}

// show lets the operators up to a stage see what time it is.
func (t *Task) show(stage int) {
	for _, k := range t.clocks {
		if k.stage <= stage {
			k.W = max(k.W, k.next)
		}
	}
}

// fire lets the operators act in topological order: what one emits reaches the next before that one's time moves.
func (t *Task) fire() {
	defer t.recoverTimer()
	c := &t.ctx
	port := c.Port
	c.Port = nil
	stage := 0
	for _, o := range t.timed {
		if k := o.Clock(); k.stage > stage {
			stage = k.stage
			t.show(stage)
		}
		if w := o.Clock().W; w >= o.Due() {
			t.touched = true
			o.Advance(c, w)
		}
	}
	c.Port = port
	if t.staged {
		t.show(math.MaxInt)
	}
	t.rearm()
}

func (t *Task) rearm() {
	for _, k := range t.clocks {
		k.due = math.MaxInt64
	}
	for _, o := range t.timed {
		o.Clock().Need(o.Due())
	}
}

// recoverTimer ends the task after a panic in a user's function that ran for a window or a timer: there is no record
// that could be given up instead.
func (t *Task) recoverTimer() {
	if v := recover(); v != nil {
		t.ctx.rejected = &PanicError{Value: v, Stack: debug.Stack()}
		t.failResult()
	}
}

func (t *Task) failResult() {
	b := t.bad(source.Partition{}, source.Position{}, onerror.Fail)
	t.ctx.rejected, t.ctx.policy = nil, nil
	t.Fail(fmt.Errorf("operator %s (declared at %s), task %s, while a window closed or a timer fired: %w", b.Operator, b.Site, b.Task, b.Err))
}

// giveUpResult applies the policy to what a window or a timer has emitted. A dead letter has its key and its time, and
// no value: there is no record that was read.
func (t *Task) giveUpResult(m Mark) {
	t.Out.rewind(m.out)
	t.Cross.rewind(m.cross)
	policy := t.Ports[0].Spec.OnError
	if t.ctx.policy != nil {
		policy = *t.ctx.policy
	}
	if policy.Action == onerror.ActionFail {
		t.failResult()
		return
	}
	t.drop(policy, &source.Record{Key: t.ctx.Key, Time: t.ctx.Time}, t.bad(source.Partition{}, source.Position{}, policy))
}

// idle marks ports that have been silent for long. A port with a queue is not idle, however slow the task.
func (t *Task) idle() {
	for _, p := range t.Ports {
		if !p.mayIdle() {
			continue
		}
		if p.lastRead == 0 {
			p.lastRead = t.Now
		}
		if t.Now-p.lastRead >= p.Spec.IdleAfter {
			p.Input.Idle = true
			t.moved = true
			t.tick(p)
		}
	}
}

// IdleDue is when a port becomes idle next, as a wall-clock time; math.MaxInt64 if none will.
func (t *Task) IdleDue() int64 {
	due := int64(math.MaxInt64)
	for _, p := range t.Ports {
		if p.mayIdle() && p.lastRead > 0 {
			due = min(due, p.lastRead+p.Spec.IdleAfter)
		}
	}
	for _, o := range t.wall {
		due = min(due, o.WallDue())
	}
	return due
}

func (t *Task) fireWall() (worked bool) {
	defer t.recoverTimer()
	for _, o := range t.wall {
		if o.WallDue() <= t.Now {
			t.touched, worked = true, true
			t.ctx.Port = nil
			o.AdvanceWall(&t.ctx, t.Now)
		}
	}
	return worked
}

// giveUp applies the policy to a record, and takes back what it has written.
func (t *Task) giveUp(p *Port, r *source.Record, m mark) {
	t.Out.rewind(m)
	policy := p.Spec.OnError
	if t.ctx.policy != nil {
		policy = *t.ctx.policy
	}
	b := t.bad(p.Part, r.Position, policy)
	if policy.Action == onerror.ActionFail {
		t.err = &RecordError{b}
	}
	t.drop(policy, r, b)
}

// drop counts and reports what was given up on, and writes the dead letter.
func (t *Task) drop(policy onerror.Policy, r *source.Record, b Bad) {
	t.ctx.rejected, t.ctx.policy = nil, nil
	op := &t.Operators[t.ctx.Op]
	switch policy.Action {
	case onerror.ActionFail:
	case onerror.ActionDeadLetter:
		op.DeadLettered++
		t.deadLetter(policy.Topic, r, b)
	default:
		op.Skipped++
	}
	t.onBad(b)
}

func (t *Task) bad(part source.Partition, pos source.Position, policy onerror.Policy) Bad {
	b := Bad{Task: t.ID(), Partition: part, Position: pos, Policy: policy, Err: t.ctx.rejected}
	if int(t.ctx.Op) < len(t.Operators) {
		b.Operator, b.Site = t.Operators[t.ctx.Op].Name, t.Operators[t.ctx.Op].Site
	}
	return b
}

func (t *Task) deadLetter(topic string, r *source.Record, b Bad) {
	headers, at := r.Headers, r.Time
	if ms, ok := carriedTime(r); ok {
		headers, at = headers[1:], ms
	}
	h := make([]source.Header, 0, len(headers)+6)
	for _, x := range headers {
		h = append(h, source.Header{Key: x.Key, Value: append([]byte(nil), x.Value...)})
	}
	add := func(k, v string) { h = append(h, source.Header{Key: "millstream-" + k, Value: []byte(v)}) }
	add("error", b.Err.Error())
	add("operator", b.Operator)
	if b.Partition.Stream != "" {
		add("topic", b.Partition.Stream)
		add("partition", strconv.Itoa(int(b.Partition.Index)))
		add("offset", b.Position.String())
	}
	add("time", strconv.FormatInt(at, 10))
	buf, keyLen := t.Out.Buf(), -1
	if r.Key != nil {
		buf = append(buf, r.Key...)
		keyLen = len(r.Key)
	}
	t.Out.Add(topic, -1, append(buf, r.Value...), keyLen, h, t.Now, r.Value == nil)
}

// Cut ends the task's part of an epoch: it hands over what has changed and where the inputs stand.
func (t *Task) Cut(epoch uint64) (d *Delta, err error) {
	defer func() {
		if v := recover(); v != nil { // a codec of the user's
			d, err = nil, fmt.Errorf("task %s: hand over state: %w", t.ID(), &PanicError{Value: v, Stack: debug.Stack()})
		}
	}()
	d = &Delta{Task: t, Epoch: epoch, Touched: t.touched || t.moved, Positions: map[source.Partition]source.Position{}}
	t.flush()
	if t.err != nil {
		return nil, t.err
	}
	for _, s := range t.stateful {
		if err := s.Cut(d); err != nil {
			return nil, fmt.Errorf("task %s: hand over state: %w", t.ID(), err)
		}
	}
	for _, p := range t.Ports {
		if p.known && !p.Spec.Memory {
			d.Positions[p.Part] = p.next
		}
	}
	for i := range t.carries {
		if c := &t.carries[i]; !c.memory {
			d.Carry = append(d.Carry, t.carry(c))
		}
	}
	if len(d.Entries) > 0 {
		d.Touched = true
	}
	if t.Spec.Changelog != "" && d.Touched {
		t.mark(d)
	}
	t.touched, t.moved = false, false
	return d, nil
}

func (t *Task) flush() {
	defer t.recoverTimer()
	t.ctx.Port = nil
	for _, o := range t.flushers {
		o.Flush(&t.ctx)
	}
}

func (t *Task) mark(d *Delta) {
	m := &Marker{Owner: t.Spec.Owner, Epoch: d.Epoch}
	for _, p := range t.Ports {
		m.Inputs = append(m.Inputs, MarkerInput{Stream: p.Part.Stream, Index: p.Part.Index, Position: p.next, Watermark: p.Input.Watermark,
			Max: p.Time.Max, Idle: p.Input.Idle, Carried: p.Carried.Tasks})
	}
	for _, s := range t.stateful {
		if c, ok := s.(Closer); ok {
			m.Closed = append(m.Closed, c.ClosedThrough())
		}
	}
	t.Marker = m
	d.Sort()
	key := MarkerKey(t.Spec.Subtopology)
	b := append(d.Buf(len(key)+256), key...)
	d.Put(AppendMarker(b, m), len(key), false, false)
}

// Resume sets the watermark of an input of a task that keeps no changelog: it travels with the committed position.
func (t *Task) Resume(part source.Partition, watermark int64) {
	for _, p := range t.Ports {
		if p.Part == part && !p.Spec.Repartition && watermark > p.Input.Watermark {
			p.Input.Watermark = watermark
			p.Time.Max = watermark + p.Spec.Bound
			p.seen = p.Time.Max
		}
	}
}

// Applied says that the epoch is in the store.
func (t *Task) Applied(epoch uint64) {
	for _, s := range t.stateful {
		s.Applied(epoch)
	}
}

// Changed is about how many bytes the next Cut will hand over; Held is what the caches hold.
func (t *Task) Changed() (n int) {
	for _, s := range t.stateful {
		n += s.Changed()
	}
	return n
}

// Stores are the numbers of the task's stores.
func (t *Task) Stores() (ids []uint32) {
	for _, s := range t.stateful {
		ids = append(ids, s.StoreID())
	}
	return ids
}

// Held is what the caches hold, in bytes.
func (t *Task) Held() (n int) {
	for _, s := range t.stateful {
		n += s.Held()
	}
	return n
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
