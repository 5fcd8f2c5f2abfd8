package task

import (
	"fmt"
	"runtime/debug"
	"strconv"

	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/source"
)

// Bad is a record that was given up on, as it is reported.
type Bad struct {
	Task, Operator, Site string
	Partition            source.Partition
	Position             source.Position
	Policy               onerror.Policy
	Err                  error
	Doubted              bool // it was not given up on: its time is not believed, so that it does not move the watermark
	Again                bool // it was not given up on: it will be tried again
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

// panicked gives up on the record after a panic of a user's function.
func (c *Ctx) panicked(v any) {
	c.Task.unwound = true
	c.Reject(&PanicError{Value: v, Stack: debug.Stack()}, nil)
}

// recoverTimer ends the task after a panic in a user's function that ran for a window or a timer: there is no record
// that could be given up instead.
func (t *Task) recoverTimer() {
	if v := recover(); v != nil {
		t.ctx.panicked(v)
	}
	if t.ctx.rejected != nil { // also what an operator has not seen to: the next record must not pay for it
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
	t.takeBack(m.changes)
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

// again leaves a record where it is, to be tried again, if its policy says so. Nothing stays of what it has done: no state
// lies beside its way to the operator that has failed (see plan.Graph.Check).
func (t *Task) again(p *Port, r *source.Record, m mark) bool {
	policy := t.policy(p)
	if policy.Retry.Attempts <= 1 || p.Spec.Repartition {
		return false
	}
	if p.tries++; p.tries >= policy.Retry.Attempts {
		t.ctx.rejected = fmt.Errorf("attempt %d of %d: %w", p.tries, policy.Retry.Attempts, t.ctx.rejected)
		return false
	}
	t.Out.rewind(m)
	t.takeBack(0)
	p.doubt = false
	seed := Murmur2([]byte(p.Part.String()+r.Position.String())) + uint32(p.tries)
	t.retryAt = t.Now + max(1, policy.Retry.Delay(p.tries, uint64(seed)*0x9e3779b97f4a7c15).Milliseconds())
	b := t.bad(p.Part, r.Position, policy)
	b.Again = true
	t.Operators[t.ctx.at].Withdrawn++
	t.Operators[t.ctx.at].Retried++
	t.ctx.rejected, t.ctx.policy = nil, nil
	t.onBad(b)
	return true
}

// policy is that of the record at hand, which has been rejected.
func (t *Task) policy(p *Port) onerror.Policy {
	if t.ctx.policy != nil {
		return *t.ctx.policy
	}
	return p.Spec.OnError
}

// giveUp applies the policy to a record, and takes back what it has written.
func (t *Task) giveUp(p *Port, r *source.Record, m mark) {
	t.Out.rewind(m)
	t.takeBack(0)
	policy := t.policy(p)
	b := t.bad(p.Part, r.Position, policy)
	if policy.Action == onerror.ActionFail {
		t.err = &RecordError{b}
	}
	t.drop(policy, r, b)
}

// drop counts and reports what was given up on, and writes the dead letter.
func (t *Task) drop(policy onerror.Policy, r *source.Record, b Bad) {
	t.ctx.rejected, t.ctx.policy = nil, nil
	op := &t.Operators[t.ctx.at]
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
	if int(t.ctx.at) < len(t.Operators) {
		b.Operator, b.Site = t.Operators[t.ctx.at].Name, t.Operators[t.ctx.at].Site
	}
	return b
}

func (t *Task) deadLetter(topic string, r *source.Record, b Bad) {
	headers, at := r.Headers, r.Time
	if ms, _, ok := carriedTime(r); ok {
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

// doubt reports a record whose time is not believed. It has been processed like any other.
func (t *Task) doubt(p *Port, r *source.Record) {
	p.doubt = false
	p.doubted++
	w := p.guard.Waiting
	t.ctx.at = t.ctx.Op
	b := t.bad(p.Part, r.Position, onerror.Skip)
	b.Doubted = true
	b.Err = fmt.Errorf("event time %d ms lies %d ms ahead of all before it in the partition, more than the source's MaxJump: it does not move the watermark until %d others in a row agree",
		w[len(w)-1], w[len(w)-1]-max(p.seen, p.Time.Max), p.Spec.Confirm)
	t.onBad(b)
}
