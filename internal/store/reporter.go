package store

import "sync"

// reporter calls back in order, on a goroutine of its own: the goroutines that meet an error hold Pebble's locks.
type reporter struct {
	mu     sync.Mutex
	queue  []func()
	wake   chan struct{} // of capacity 1
	closed bool
}

func newReporter() *reporter {
	r := &reporter{wake: make(chan struct{}, 1)}
	go r.run()
	return r
}

// do lets f be called after those before it. It never blocks.
func (r *reporter) do(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = append(r.queue, f)
	r.signal()
}

// close ends the reporter after what was queued before. It does not wait: the caller may be one of the callbacks.
func (r *reporter) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.signal()
}

func (r *reporter) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reporter) run() {
	for range r.wake {
		r.mu.Lock()
		queue, closed := r.queue, r.closed
		r.queue = nil
		r.mu.Unlock()
		for _, f := range queue {
			f()
		}
		if closed {
			return
		}
	}
}
