package operator

import (
	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/internal/task"
)

// Count keeps one aggregate per key, of the records since its last window closed; see window.Count.
type Count[K comparable, A any] struct {
	windows keyWindows[K, A]
	size    uint64
}

// NewCount adds the operator to a task. The spec's Grace is how long a window waits for its next record.
func NewCount[K comparable, A any](t *task.Task, clock *task.Clock, s KeyWindowSpec[K, A], size int) *Count[K, A] {
	o := &Count[K, A]{size: uint64(size)}
	o.windows.init(t, clock, s)
	o.windows.ends = func(s *span[A]) int64 { return s.time + o.windows.Grace }
	o.windows.register()
	return o
}

// Process takes a record.
func (o *Count[K, A]) Process(c *task.Ctx, k K) {
	c.Enter(o.windows.Op)
	e := o.windows.entry(c, k)
	if e == nil {
		return
	}
	c.Pass(o.windows.Op)
	s := span[A]{from: c.Time, to: c.Time + 1, time: c.Time}
	if e.live {
		s = e.val[0]
		if c.Time < s.from {
			o.windows.retract(c, k, s)
			s.sent, s.paced = false, false
		}
	}
	o.windows.Update(&s.val, !e.live)
	s.from, s.to = min(s.from, c.Time), max(s.to, c.Time+1)
	o.windows.counted(&s, c.Time, 1)
	if s.revision < o.size || plant.Is("count") && s.revision == o.size && o.size > 2 { // planted: a window takes a record more
		o.windows.keep(e, append(e.val[:0], s))
		o.windows.updated(c, k, &e.val[0])
		return
	}
	o.windows.keep(e, nil)
	o.windows.updated(c, k, &s)
	o.windows.emit(c, []closing[K, A]{{k: k, s: s}})
}
