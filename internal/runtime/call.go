package runtime

import (
	"context"
	"time"

	"github.com/millstream-go/millstream/internal/task"
)

// Calls of users' functions that take their time run on goroutines of their own, so that no task waits for them. They
// end with their task: the record that they are made for is in the state, and is called for again by whoever has the task
// next.

// callsEnd is how long the end of a session waits for calls that go on although their context has ended.
const callsEnd = 5 * time.Second

// caller makes the calls of a task until ctx ends.
func (e *engine) caller(ctx context.Context, t *task.Task) func(task.Call) {
	return func(c task.Call) {
		e.calls.Go(func() {
			if a := e.call(ctx, c); a != nil && ctx.Err() == nil {
				t.Answer(a)
				e.pokeFor(t)
			}
		})
	}
}

// call makes a call. It returns nil if ctx ends before.
func (e *engine) call(ctx context.Context, c task.Call) task.Answer {
	if c.After > 0 {
		timer := time.NewTimer(c.After)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
	}
	if c.Timeout == 0 {
		return c.Run(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	answer := make(chan task.Answer, 1)
	e.calls.Go(func() { answer <- c.Run(ctx) })
	select {
	case a := <-answer:
		return a
	case <-ctx.Done(): // the function may go on; nobody listens any more
		return c.Failed(ctx.Err())
	}
}

// pokeFor wakes the worker of a task, if it has one.
func (e *engine) pokeFor(t *task.Task) {
	e.mu.RLock()
	p := e.ports[t.Ports[0].Part]
	e.mu.RUnlock()
	if p == nil {
		return
	}
	if w := p.worker.Load(); w != nil {
		w.poke()
	}
}

// awaitCalls waits for the calls of the session, whose contexts have ended.
func (e *engine) awaitCalls() {
	done := make(chan struct{})
	go func() {
		e.calls.Wait()
		close(done)
	}()
	timer := time.NewTimer(callsEnd)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		e.log.Warn("a function of an async operator goes on although its context has ended; the application does not wait for it", "waited", callsEnd)
	}
}
