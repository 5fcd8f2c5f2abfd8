package operator

import (
	"math"

	"github.com/millstream-go/millstream/internal/task"
)

// Paced updates: what has changed in a slice of event time, [n*every, (n+1)*every), is emitted once, when the watermark
// reaches the slice's end. A change belongs to the slice that the watermark is in when it happens; so all that waits is
// due at the same time, and that time follows from the watermark alone. What waits is part of the state.

// paced is where an operator with such updates stands.
type paced struct {
	every int64
	due   int64 // of all that waits, or math.MaxInt64
}

// wait says that something waits since the watermark w.
func (p *paced) wait(clock *task.Clock, w int64) {
	if p.due < math.MaxInt64 {
		return
	}
	p.due = math.MinInt64 + 1 // no watermark yet: as soon as there is one
	if w != math.MinInt64 {
		m := w % p.every
		if m < 0 {
			m += p.every
		}
		p.due = w - m + p.every
	}
	clock.Need(p.due)
}

// pace makes a window's aggregate wait for the end of the slice.
func (o *Windowed[K, A]) pace(c *task.Ctx, e *entry[K, A], start int64) {
	key, err := o.store.keys.Append(o.store.buf[:0], e.key)
	o.store.buf = key
	if err != nil {
		c.Task.Fail(&task.StateError{Store: o.store.name, Doing: "encode key", Err: err})
		return
	}
	e.waits = true
	o.waiting.set(timer{paceTimer, start, string(key)}, true)
	o.paced.wait(o.clock, max(o.clock.W, o.closed))
}

// emitPaced emits what waits in windows that start before a time, in the order of (start, key).
func (o *Windowed[K, A]) emitPaced(c *task.Ctx, before int64) error {
	t0, k0, h0 := c.Time, c.Key, c.Headers
	defer func() { c.Time, c.Key, c.Headers = t0, k0, h0 }()
	for {
		t, ok := o.waiting.fire(paceTimer, before)
		if !ok {
			break
		}
		p := o.tables[t.at]
		if p == nil {
			continue
		}
		key := []byte(t.key)
		k, err := o.store.keys.Decode(key)
		if err != nil {
			return &task.StateError{Store: o.store.name, Doing: "decode a waiting key", Err: err}
		}
		e, err := o.store.find(p.table, k, t.at)
		if err != nil {
			return err
		}
		e.waits = false
		if e.live {
			c.Op, c.Time, c.Key, c.Headers = o.Op, e.time, key, nil
			o.OnPace(c, k, o.span(t.at, e.revision), e.val)
		}
	}
	if o.waiting.next(paceTimer) == math.MaxInt64 {
		o.paced.due = math.MaxInt64
	}
	return nil
}

// restorePaced finds what waits. If nobody wants it any more, it is forgotten.
func (o *Windowed[K, A]) restorePaced() error {
	if err := o.waiting.restore(); err != nil {
		return err
	}
	switch {
	case o.waiting.next(paceTimer) == math.MaxInt64:
	case o.OnPace == nil:
		for ok := true; ok; {
			_, ok = o.waiting.fire(paceTimer, math.MaxInt64)
		}
	default:
		o.paced.wait(o.clock, max(o.clock.W, o.closed))
	}
	return nil
}

// emitPaced emits the windows that wait.
func (o *keyWindows[K, A]) emitPaced(c *task.Ctx) {
	var all []closing[K, A]
	for k := range o.waiting {
		e := o.entry(c, k)
		if e == nil {
			return
		}
		if !e.live {
			o.release(e)
			continue
		}
		for i := range e.val {
			if s := &e.val[i]; s.waits {
				s.waits, s.paced = false, true
				all = append(all, closing[K, A]{k: k, s: *s})
			}
		}
	}
	clear(o.waiting)
	o.paced.due = math.MaxInt64
	if !o.sort(c, all) {
		return
	}
	t, key, h := c.Time, c.Key, c.Headers
	for i := range all {
		x := &all[i]
		o.table.touch(o.table.lookup(x.k))
		c.Op, c.Time, c.Key, c.Headers = o.Op, x.s.time, x.key, nil
		o.OnPace(c, x.k, x.s.result(false), x.s.val)
	}
	c.Time, c.Key, c.Headers = t, key, h
}
