package task

import (
	"math"
	"sync"

	"github.com/millstream-go/millstream/internal/eventtime"
	"github.com/millstream-go/millstream/source"
)

// Alignment keeps partitions from running away from each other: one whose watermark is more than Align ahead of the
// smallest is not read until the others have come nearer. It is shared by all tasks of a process that read such
// partitions. Its rules, each of which somebody has had to learn (FLINK-32414, -32496, -35157, -36751, -40093):
//
//   - A partition that nothing more can be expected of, because it is idle, has an end and was read to it, or was split or
//     merged, holds nobody back. One that was not heard of yet does: its records may be old.
//   - One that waits for others is not idle, however long that takes, and its silence is counted from the moment at which
//     it is read again. One that is idle does not wait: its next record shows first where it stands.
//   - The smallest never waits, so there is always one that goes on.
//   - A table that is read before the streams beside it does not wait for these.
type Alignment struct {
	// Moved, if set, is called when the smallest watermark has changed, by the goroutine that steps some task.
	Moved func()

	mu    sync.Mutex
	of    map[*Port]int64 // watermarks of the partitions that others wait for
	least int64
}

// NewAlignment has no partitions.
func NewAlignment() *Alignment {
	return &Alignment{of: map[*Port]int64{}, least: eventtime.End}
}

// show notes how the ports stand, and returns the smallest watermark of all.
func (a *Alignment) show(ports []*Port, leave bool) (least int64) {
	a.mu.Lock()
	for _, p := range ports {
		switch {
		case p.Spec.Align <= 0:
		case leave || p.Input.Idle || p.over():
			delete(a.of, p)
		default:
			a.of[p] = p.Input.Watermark
		}
	}
	least = eventtime.End
	for _, w := range a.of {
		least = min(least, w)
	}
	moved := least != a.least
	a.least = least
	a.mu.Unlock()
	if moved && a.Moved != nil {
		a.Moved()
	}
	return least
}

// Align lets the task take part from now on, before it is restored: others wait until it shows where its partitions stand.
func (t *Task) Align(a *Alignment) {
	if t.alignment = a; a != nil {
		a.show(t.Ports, false)
	}
}

// align tells others where the task's partitions stand, and learns how far each of them may go.
func (t *Task) align() {
	if t.alignment == nil {
		return
	}
	least := t.alignment.show(t.Ports, false)
	for _, p := range t.Ports {
		if p.Spec.Align <= 0 {
			continue
		}
		p.most = eventtime.End
		if first := p.Spec.First && !p.primed && len(t.Ports) > 1; !first && least < eventtime.End-p.Spec.Align {
			p.most = least + p.Spec.Align
		}
		waited := p.waits.Load()
		if waits := p.ahead(); waits != waited {
			p.waits.Store(waits)
			p.lastRead = t.Now // it was not silent meanwhile
		}
	}
}

// ahead says that the port is so far ahead of others that it is not to be read.
func (p *Port) ahead() bool {
	return p.Spec.Align > 0 && !p.Input.Idle && p.Input.Watermark > p.most
}

// Waits says that the port was ahead of others when its task was stepped last. Any goroutine may ask.
func (p *Port) Waits() bool { return p.waits.Load() }

// ended is connect.Ended: the position behind the last record of a partition that was split or merged.
var ended = source.Position{High: math.MaxUint64, Mid: math.MaxUint64, Low: math.MaxUint64}

// over says that the partition was read to its end, and gets no more.
func (p *Port) over() bool {
	return p.Empty() && (p.Spec.Ends && p.caughtUp || p.known && p.next == ended)
}
