package runtime

import (
	"context"
	"fmt"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/checkpoint"
	"github.com/millstream-go/millstream/internal/eventtime"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/source"
)

// Sessions whose partitions come and go (connect.Sharded). A task that reads a partition lives as long as that; those behind
// an exchange in memory have a fixed number, so that state never moves. What these must know is which tasks feed them:
// a task that has ended must not hold their watermark back, one that begins must, before its first record. So whenever
// all tasks are restored, and before any steps, every task behind an exchange is told of all that are before it.

// runsSharded says what such a session cannot do for a program.
func (a *App) runsSharded() error {
	for _, sub := range a.prog.Subtopologies {
		for _, in := range sub.Inputs {
			if in.Port.Memory {
				continue
			}
			if in.Port.Repartition {
				return fmt.Errorf("the topology brings records to the tasks of their keys, declared at %s, and %s has no topics for that: set Config.Exchange to stream.InMemory: %w", in.Opened, a.cfg.Connector.System(), connect.ErrStop)
			}
			if len(sub.Inputs) > 1 {
				return fmt.Errorf("stream %s, declared at %s, is read side by side with %d other inputs, and its shards come and go: put KeyBy between it and what brings them together: %w",
					in.Port.Name, in.Opened, len(sub.Inputs)-1, connect.ErrStop)
			}
		}
	}
	switch {
	case a.cfg.Guarantee == connect.AtMostOnce:
		return fmt.Errorf("Config.Guarantee: at-most-once is not built for %s: use exactly-once or at-least-once: %w", a.cfg.Connector.System(), connect.ErrStop)
	case a.cfg.Standbys > 0:
		return fmt.Errorf("Config.Standbys: there are none for %s, whose state has no changelogs to follow: leave it out: %w", a.cfg.Connector.System(), connect.ErrStop)
	case a.cfg.Snapshots.Store != nil && !a.prog.Memory:
		return fmt.Errorf("Config.Snapshots: with %s they are for the state of the one instance that Config.Exchange InMemory makes of the application: set that, or leave them out: %w", a.cfg.Connector.System(), connect.ErrStop)
	}
	return nil
}

// Kept implements connect.Keeper.
func (e *engine) Kept(parts []source.Partition) (map[source.Partition]source.Position, error) {
	found := map[source.Partition]source.Position{}
	for _, part := range parts {
		for _, sub := range e.prog.Subtopologies {
			if in := sub.Inputs[0].Port; in.Memory || in.Name != part.Stream {
				continue
			}
			k, ok, err := checkpoint.Kept(e.store, sub.Name, part)
			if err != nil {
				return nil, fmt.Errorf("read the position of %v in the store: %w", part, err)
			}
			if ok {
				found[part] = k.Next
			}
		}
	}
	return found, nil
}

// announce tells the tasks behind each exchange which tasks are before them, and what time these have.
func (e *engine) announce(run context.Context) {
	if e.sharded == nil || !e.prog.Memory {
		return
	}
	tasks := map[string][]task.ControlTask{}
	for _, w := range e.workers {
		w.do(run, func() {
			for _, t := range w.tasks {
				for _, c := range t.Carries() {
					list := tasks[c.Stream]
					for int(c.Task) >= len(list) {
						list = append(list, task.ControlTask{Task: int32(len(list)), Watermark: eventtime.None, Idle: true})
					}
					list[c.Task].Watermark, list[c.Task].Idle = c.Watermark, c.Idle
					tasks[c.Stream] = list
				}
			}
		})
	}
	for stream, list := range tasks {
		e.tell(stream, list)
	}
}

// tell hands watermarks to the tasks behind an exchange.
func (e *engine) tell(stream string, list []task.ControlTask) {
	value := task.AppendControl(nil, task.Control{Tasks: list})
	for i := range e.counts()[stream] {
		e.exchange.offer(source.Batch{Partition: source.Partition{Stream: stream, Index: i}, Bytes: len(value),
			Records: []source.Record{{Value: value, Headers: []source.Header{{Key: task.ControlHeader}}}}}, nil)
	}
}

// end notes partitions whose tasks are to go. Others have begun in their place.
func (e *engine) end(run context.Context, parts []source.Partition) {
	for _, p := range parts {
		e.over[p] = true
	}
	e.leaveOver(run)
}

// leaveOver lets tasks go that have nothing left to do. They are asked again after each commit, and not while a task is
// being restored that may stand in for them.
func (e *engine) leaveOver(run context.Context) {
	if len(e.over) == 0 || !e.exchange.ready.Load() {
		return
	}
	for key, s := range e.slots {
		part := source.Partition{Stream: key.sub.Inputs[0].Port.Name, Index: key.partition}
		if !e.over[part] || s.worker == nil {
			continue
		}
		var carries []task.Carry
		quiet := false
		s.worker.do(run, func() {
			if quiet = s.task.Quiet(); quiet {
				carries = s.task.Carries()
				s.worker.remove(s.task)
			}
		})
		if !quiet {
			continue
		}
		s.stop()
		delete(e.slots, key)
		e.mu.Lock()
		delete(e.ports, part)
		e.mu.Unlock()
		s.task.Close()
		e.committer.Released(part)
		delete(e.assigned, part)
		delete(e.over, part)
		for _, c := range carries {
			e.tell(c.Stream, []task.ControlTask{{Task: c.Task, Watermark: c.Watermark, Idle: true}})
		}
	}
	e.shareMemory()
}
