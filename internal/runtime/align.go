package runtime

import (
	"fmt"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/task"
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

// waiting is how much is queued of partitions that are ahead of others. They are not fetched meanwhile.
func (e *engine) waiting() (bytes int64) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, p := range e.ports {
		if p.Waits() {
			bytes += int64(p.Queued())
		}
	}
	return bytes
}

// caughtUp lets partitions of a task be fetched again for which others have caught up, and those that others wait for.
func (e *engine) caughtUp(t *task.Task) {
	if e.alignment == nil {
		return
	}
	if e.queued.Load() >= e.cfg.fetchBytes() {
		e.session.Wake()
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, in := range t.Ports {
		if p := e.ports[in.Part]; p != nil {
			e.resume(p)
		}
	}
}
