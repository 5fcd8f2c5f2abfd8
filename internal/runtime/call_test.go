package runtime

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"

	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/source"
)

// trial is a task whose answers are noted.
type trial struct {
	e      *engine
	task   *task.Task
	stop   context.CancelFunc
	worker *worker
}

func newTrial(t *testing.T) *trial {
	in := &task.Port{Spec: &task.PortSpec{}}
	w := &worker{wake: make(chan struct{}, 1)}
	p := &port{Port: in}
	p.worker.Store(w)
	e := &engine{log: slog.New(slog.DiscardHandler), ports: map[source.Partition]*port{in.Part: p}}
	ctx, stop := context.WithCancel(t.Context())
	tk := &task.Task{Ports: []*task.Port{in}}
	tk.Call = e.caller(ctx, tk)
	return &trial{e, tk, stop, w}
}

// answer waits for an answer, and says whether one came within a time.
func (r *trial) answer(within time.Duration) bool {
	select {
	case <-r.worker.wake:
		return true
	case <-time.After(within):
		return false
	}
}

func (r *trial) call(after, timeout time.Duration, f func(ctx context.Context) error) (err func() error) {
	var mu sync.Mutex // a function that is late notes its error, although the call has failed
	var got error
	note := func(err error) task.Answer {
		mu.Lock()
		defer mu.Unlock()
		got = err
		return func(*task.Ctx) {}
	}
	r.task.Call(task.Call{After: after, Timeout: timeout,
		Run: func(ctx context.Context) task.Answer { return note(f(ctx)) }, Failed: note})
	return func() error {
		mu.Lock()
		defer mu.Unlock()
		return got
	}
}

var errCalled = errors.New("called")

func called(context.Context) error { return errCalled }

func waits(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func TestCall(t *testing.T) {
	defer goleak.VerifyNone(t)
	synctest.Test(t, func(t *testing.T) {
		r := newTrial(t)
		err := r.call(time.Second, time.Minute, called)
		assert.False(t, r.answer(999*time.Millisecond))
		assert.True(t, r.answer(2*time.Millisecond))
		assert.Equal(t, errCalled, err())
		r.stop()
		r.e.awaitCalls()
	})
}

// A call has failed when its time is out, whether or not the function sees to it.
func TestCallTimeout(t *testing.T) {
	defer goleak.VerifyNone(t)
	synctest.Test(t, func(t *testing.T) {
		r := newTrial(t)
		err := r.call(0, time.Second, waits)
		assert.True(t, r.answer(1001*time.Millisecond))
		assert.Equal(t, context.DeadlineExceeded, err())
		over := make(chan struct{})
		r.call(0, time.Second, func(context.Context) error { <-over; return nil })
		assert.True(t, r.answer(1001*time.Millisecond))
		close(over)
		r.stop()
		r.e.awaitCalls()
	})
}

// When the task goes, calls end, whatever they wait for, and nothing is answered.
func TestCallsEndWithTheirTask(t *testing.T) {
	defer goleak.VerifyNone(t)
	synctest.Test(t, func(t *testing.T) {
		r := newTrial(t)
		r.call(time.Hour, 0, called)
		r.call(0, 0, waits)
		r.call(0, time.Hour, waits)
		r.call(0, 0, func(ctx context.Context) error { <-ctx.Done(); return nil })
		synctest.Wait()
		r.stop()
		begin := time.Now()
		r.e.awaitCalls()
		assert.Zero(t, time.Since(begin))
		assert.False(t, r.answer(time.Hour))
	})
}

// A function that does not end is not waited for for ever.
func TestCallThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTrial(t)
		over := make(chan struct{})
		r.call(0, 0, func(context.Context) error { <-over; return nil })
		r.stop()
		begin := time.Now()
		r.e.awaitCalls()
		assert.Equal(t, callsEnd, time.Since(begin))
		close(over)
	})
}
