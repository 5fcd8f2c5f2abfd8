package task

import (
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/source"
)

// Fn is one step of a compiled chain: what a stream's record is handed to. The value travels by itself; time, key and
// headers stay in Ctx, because copying them from operator to operator would cost more than the operators do.
type Fn[V any] func(c *Ctx, v V)

// KeyedFn is the same after KeyBy.
type KeyedFn[K comparable, V any] func(c *Ctx, k K, v V)

// Ctx is what is known of the record that is being processed. There is one per task; the operators of a chain change
// it and put it back.
type Ctx struct {
	Time    int64 // event time, ms since the epoch
	Key     []byte
	Headers []source.Header
	Op      int32 // the operator at work, to be named if it fails
	Input   int   // which of the streams that share the next operator the record is of; 0 if they do not
	Port    *Port // the input that the record came from; nil while a timer or the closing of a window runs
	Task    *Task
	Of      uint64 // the record is an aggregate of so many, added up by the task that sent it; 0: it is not
	Codec   []byte // the name of the codec that wrote the aggregate
	Stale   bool   // a change of a row that is older than what the row is; see operator.StreamVersions

	rejected error
	policy   *onerror.Policy
	at       int32 // the operator that gave up on the record
}

// Reject gives up on the record: the chain returns, and the task applies the policy (nil: the one of the record's
// source). Outputs that the record has made so far are taken back.
func (c *Ctx) Reject(err error, policy *onerror.Policy) {
	n := &c.Task.Operators[c.Op].Counts
	n.unbook()
	if c.rejected != nil {
		n.Withdrawn++ // the record has been given up on already
		return
	}
	c.rejected, c.policy, c.at = err, policy, c.Op
}

// Mark is a place in a task's outputs.
type Mark struct {
	out     mark
	cross   int
	changes int
}

// Begin begins what a window or a timer emits on its own account. There is no record behind it, so the task does not
// see to its end; End does.
func (c *Ctx) Begin() Mark {
	return Mark{c.Task.Out.mark(), len(c.Task.Cross.sent), len(c.Task.changes)}
}

// End ends it: if it was rejected, its outputs are taken back, and the policy applied. With onerror.Fail, and after a
// panic, the task ends.
func (c *Ctx) End(m Mark) {
	if c.rejected != nil {
		c.Task.giveUpResult(m)
	} else if c.Port == nil && len(c.Task.changes) > 0 {
		c.Task.keep()
	}
}

// Rejected says that the record has been given up on by an operator behind.
func (c *Ctx) Rejected() bool { return c.rejected != nil }
