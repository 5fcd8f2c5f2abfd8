package streamtest

import (
	"context"
	"slices"
	"time"

	"github.com/millstream-go/millstream/internal/task"
)

// call is a call that an operator has asked for. It is made on the goroutine of the test, when the wall clock gets to the
// time at which it returns.
type call struct {
	task.Call
	task *task.Task
	at   int64 // when it returns
	late bool  // it takes longer than it may
}

// caller takes the calls of a task.
func (d *Driver) caller(t *task.Task) func(task.Call) {
	return func(c task.Call) {
		takes := time.Duration(0)
		if d.o.takes != nil {
			takes = d.o.takes(c.Operator, c.Input)
		}
		late := c.Timeout > 0 && takes >= c.Timeout
		if late {
			takes = c.Timeout
		}
		d.calls = append(d.calls, &call{c, t, d.now + (c.After + takes).Milliseconds(), late})
	}
}

// answer makes the calls of a task whose time has come, in the order of time.
func (d *Driver) answer(t *task.Task) (worked bool) {
	var due []*call
	d.calls = slices.DeleteFunc(d.calls, func(c *call) bool {
		if c.task == t && c.at <= d.now {
			due = append(due, c)
			return true
		}
		return false
	})
	slices.SortStableFunc(due, func(a, b *call) int { return int(a.at - b.at) })
	for _, c := range due {
		if c.late {
			t.Answer(c.Failed(context.DeadlineExceeded))
			continue
		}
		t.Answer(c.Run(d.ctx))
	}
	return len(due) > 0
}

// nextCall is when the next call returns.
func (d *Driver) nextCall() (at int64, ok bool) {
	for _, c := range d.calls {
		if !ok || c.at < at {
			at, ok = c.at, true
		}
	}
	return at, ok
}
