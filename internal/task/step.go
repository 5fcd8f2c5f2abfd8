package task

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/millstream-go/millstream/internal/eventtime"
	"github.com/millstream-go/millstream/source"
)

// Step does a bounded piece of work: at most n records, then whatever is due. It says whether it did anything. After
// an error the task is of no use.
func (t *Task) Step(now int64, n int) (worked bool, err error) {
	if t.state != Running || t.err != nil {
		return false, t.err
	}
	t.Now = now
	t.align()
	worked = t.takeAnswers()
	if now >= t.retryAt {
		t.retryAt = 0
	}
	for done := 0; done < n && t.err == nil && t.full == 0 && t.retryAt == 0; {
		p := t.pick()
		t.stand(p)
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
		worked = t.prove() || worked
		t.idle()
		worked = t.fireWall() || worked
		t.send()
		t.align()
	}
	return worked, t.err
}

// pick chooses the port to read from: the one whose next record is the earliest. That means nothing while a port might
// still deliver an earlier one, so a port without a record must be known to be caught up.
func (t *Task) pick() *Port {
	if len(t.Ports) == 1 {
		if p := t.Ports[0]; (!t.Hold || p.Spec.Memory) && p.head() != nil {
			return p
		}
		return nil
	}
	t.lacks = false
	if !t.primed {
		if p := t.prime(); p != nil || !t.primed {
			t.lacks = p == nil
			return p
		}
	}
	var best *Port
	var bestTime int64
	for _, p := range t.Ports {
		if t.Hold && !p.Spec.Memory {
			continue
		}
		r := p.head()
		if r == nil {
			if !p.caughtUp && !p.limited && !p.ahead() {
				t.lacks = true
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

// stand notes which ports have records that cannot be read before another port has some, given the one that was picked.
func (t *Task) stand(picked *Port) {
	if lacks := picked == nil && t.lacks; lacks || t.stood {
		t.stood = lacks
		for _, p := range t.Ports {
			p.stands.Store(lacks && !p.Empty())
		}
	}
}

// Stands says that the port's records could not be read when its task was stepped last, because another port of the task had none and
// may still get earlier ones. Any goroutine may ask.
func (p *Port) Stands() bool { return p.stands.Load() }

// prime chooses among the tables that are not read yet to the end that they had at start.
func (t *Task) prime() *Port {
	var best *Port
	var bestTime int64
	t.primed = true
	for _, p := range t.Ports {
		if !p.Spec.First || p.primed {
			continue
		}
		r := p.head()
		if p.hasTarget && p.next.Compare(p.target) >= 0 || r == nil && (p.caughtUp || p.limited) {
			p.primed = true
			continue
		}
		t.primed = false
		if r == nil {
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
	var m mark
	var x int
	defer func() {
		if v := recover(); v != nil {
			t.ctx.panicked(v)
			t.Cross.rewind(x)
			t.giveUp(p, p.atHand(), m)
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
		if p.at >= p.told && len(t.prefetchers) > 0 {
			if t.prefetch(p); t.err != nil {
				break
			}
		}
		t.touched = true
		m, x = t.Out.mark(), len(t.Cross.sent)
		c.Time, c.Key, c.Headers, c.Port, c.Input, c.Of = r.Time, r.Key, r.Headers, p, 0, p.of
		if len(t.changes) > 0 {
			t.keep()
		}
		if p.Spec.Repartition && p.parcel == nil && t.control(p, r) {
			p.pass()
			done++
			continue
		}
		seen, doubts := p.seen, slices.Clone(p.guard.Waiting)
		p.handed++
		p.Run(c, r)
		if c.rejected != nil {
			t.Cross.rewind(x)
			if t.again(p, r, m) {
				p.seen, p.guard.Waiting = seen, doubts
				return done
			}
			t.giveUp(p, p.atHand(), m)
			if t.err != nil {
				return done
			}
		}
		if p.doubt {
			t.doubt(p, r)
		}
		p.pass()
		done++
		if len(t.followers) > 0 {
			t.follow(p)
		}
		if p.seen > p.Time.Max || p.Input.Idle {
			t.observe(p)
		}
		if t.err != nil || t.full > 0 || t.Out.Bytes+t.Cross.bytes > 1<<20 {
			break
		}
	}
	p.lastRead = t.Now
	return done
}

// prefetched is how many records operators may read ahead for.
const prefetched = 1024

// prefetch lets operators read ahead for a port's next records.
func (t *Task) prefetch(p *Port) {
	from := p.at
	p.told = min(from+prefetched, p.count)
	key := func(i int) []byte { return p.key(from + i) }
	for _, o := range t.prefetchers {
		if err := o.Prefetch(p, p.told-from, key); err != nil {
			t.Fail(err)
		}
	}
}

// control takes the event time out of a repartition topic's record, or handles a control record.
func (t *Task) control(p *Port, r *source.Record) bool {
	if ms, rest, ok := carriedTime(r); ok {
		t.ctx.Time, t.ctx.Headers = ms, r.Headers[1:]
		if len(rest) > 0 {
			of, n := binary.Uvarint(rest)
			t.ctx.Of, t.ctx.Codec = of, rest[max(n, 0):]
		}
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
			t.moved = true
			if w = k.now(); k.stage == 0 {
				k.W = max(k.W, w)
			}
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
			k.W = max(k.W, k.now())
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

// IdleDue is when a port becomes idle next, a timer fires, or a record is tried again, as a wall-clock time; math.MaxInt64 if
// nothing will.
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
	if t.retryAt > 0 {
		due = min(due, t.retryAt)
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

// Advance moves the event time of a source's port as a record of the time ms would. It is for the test driver.
func (t *Task) Advance(p *Port, ms, now int64) error {
	if t.state != Running || t.err != nil {
		return t.err
	}
	t.Now, p.lastRead, t.touched = now, now, true
	p.seen, p.guard.Waiting = max(p.seen, ms), nil // it is believed
	if p.seen > p.Time.Max || p.Input.Idle {
		t.observe(p)
	}
	return t.err
}
