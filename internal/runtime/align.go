package runtime

import (
	"fmt"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/source"
)

// aligned says which inputs that are read side by side have unlike numbers of partitions: a key would then be in one
// task by one of them, and in another by the other. counts has the number of partitions of each topic.
func (p *Program) aligned(counts map[string]int32) error {
	for _, sub := range p.Subtopologies {
		if !sub.Aligned {
			continue
		}
		first := sub.Inputs[0]
		for _, in := range sub.Inputs[1:] {
			if a, b := counts[first.Port.Name], counts[in.Port.Name]; a != b {
				return fmt.Errorf("topics %s (declared at %s) and %s (declared at %s) are read side by side by their keys, but have %d and %d partitions, so that equal keys would not meet: "+
					"give both the same number, or read one with From, KeyBy and Repartition: %w", first.Port.Name, first.Opened, in.Port.Name, in.Opened, a, b, connect.ErrStop)
			}
		}
	}
	return nil
}

// align makes the alignment of the tasks of a session; nil if no source asks for it.
func (e *engine) align() *task.Alignment {
	a := e.prog.Alignment()
	if a != nil {
		a.Moved = e.pokeAll // workers whose tasks wait
	}
	return a
}

// Alignment is what tasks share that read sources whose watermarks are to stay near to each other; nil if there are none.
func (p *Program) Alignment() *task.Alignment {
	for _, sub := range p.Subtopologies {
		for _, in := range sub.Inputs {
			if in.Port.Align > 0 {
				return task.NewAlignment()
			}
		}
	}
	return nil
}

// waits says that a partition's records are of no use before others come. Some are ahead of others by their watermarks (see
// task.Alignment): those wait in any case. Some have a task that has to read another partition first: those wait once the
// queues are full. Otherwise they would fill the queues, the other partition would not be fetched, and nothing would ever go on.
func (e *engine) waits(p *port) bool {
	return p.Waits() || p.Stands() && e.queued.Load() >= e.cfg.fetchBytes()
}

// pause keeps a partition from being fetched.
func (e *engine) pause(p *port) {
	p.pausing.Lock()
	defer p.pausing.Unlock()
	if !p.paused.Swap(true) {
		e.session.Pause([]source.Partition{p.Part})
	}
}

// resume lets a partition be fetched again that was paused, once little of it is queued and it does not wait for others.
func (e *engine) resume(p *port) {
	if !p.paused.Load() || e.waits(p) || int64(p.Queued()) >= e.cfg.fetchBytes()/8 {
		return
	}
	p.pausing.Lock()
	defer p.pausing.Unlock()
	if p.paused.Swap(false) {
		e.session.Resume([]source.Partition{p.Part})
	}
}

// Room implements connect.Handler.
func (e *engine) Room() int64 {
	queued, limit := e.queued.Load(), e.cfg.fetchBytes()
	if queued < limit {
		return limit - queued
	}
	return limit/8 - (queued - e.waiting()) // what waits for others must not keep those from being fetched
}

// waiting is how much is queued of partitions that wait for others. They are not fetched meanwhile.
func (e *engine) waiting() (bytes int64) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, p := range e.ports {
		if p.paused.Load() && e.waits(p) {
			bytes += int64(p.Queued())
		}
	}
	return bytes
}

// stepped lets partitions of a task that was stepped wait for others, or be fetched again because others have caught up.
func (e *engine) stepped(t *task.Task) {
	full := e.queued.Load() >= e.cfg.fetchBytes()
	if len(t.Ports) > 1 || e.alignment != nil {
		for _, in := range t.Ports {
			e.mu.RLock()
			p := e.ports[in.Part]
			e.mu.RUnlock()
			switch {
			case p == nil:
			case full && e.waits(p):
				e.pause(p)
			default:
				e.resume(p)
			}
		}
	}
	if full && e.waiting() > 0 {
		e.session.Wake() // those that others wait for may have room
	}
}
