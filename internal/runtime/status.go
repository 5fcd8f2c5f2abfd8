package runtime

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/millstream-go/millstream/internal/eventtime"
	"github.com/millstream-go/millstream/internal/task"
)

// TaskStatus is how a task stands.
type TaskStatus struct {
	// ID is subtopology_partition.
	ID string
	// State is restoring or running.
	State string
	// Watermark is the event time before which no more records are expected; the zero Time while nothing is known.
	Watermark time.Time
	// Lag is the number of records between what was processed and the ends of the task's inputs, as of the last fetch.
	Lag int64
	// Positions are the first unprocessed positions of the inputs, by "topic/partition".
	Positions map[string]string
	// HotKeys are the shares of the keys that come most often, the largest first, three at most, by "topic/partition" of the
	// inputs whose records have keys: among the last 30,000 to 60,000 records or so, to within about 0.05. Nothing is said of
	// an input before some 4,000 records.
	HotKeys map[string][]float64
	// Records were read since the task came to this instance. Of them some were late, skipped, or dead-lettered.
	Records, Late, Skipped, DeadLettered uint64
}

// StandbyStatus is how a copy of the state of a task that another instance runs stands.
type StandbyStatus struct {
	// ID is the task's.
	ID string
	// Current says that the copy lacks only what was written in the last moments. Lag is how many positions of the
	// changelog it lacked when that was last looked at.
	Current bool
	Lag     int64
}

// Standbys returns the copies that this instance keeps, in the order of their tasks' ids.
func (a *App) Standbys() (list []StandbyStatus) {
	e := a.engine.Load()
	if e == nil {
		return nil
	}
	for _, s := range e.standbys() {
		left, _ := s.progress.left()
		list = append(list, StandbyStatus{ID: s.task.ID(), Current: s.current.Load(), Lag: left})
	}
	return list
}

// Status returns how the tasks of this instance stand, in the order of their ids. It is empty while the application
// does not run.
func (a *App) Status(ctx context.Context) []TaskStatus {
	e := a.engine.Load()
	if e == nil {
		return nil
	}
	var list []TaskStatus
	e.post(func() {
		for _, s := range e.slots {
			if s.worker == nil {
				list = append(list, TaskStatus{ID: s.task.ID(), State: task.Restoring.String()})
			}
		}
	})
	for _, w := range e.workers {
		var part []TaskStatus
		if w.do(ctx, func() {
			for _, t := range w.tasks {
				part = append(part, status(t))
			}
		}) {
			list = append(list, part...)
		}
	}
	slices.SortFunc(list, func(a, b TaskStatus) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

func status(t *task.Task) TaskStatus {
	s := TaskStatus{ID: t.ID(), State: t.State().String(), Positions: map[string]string{}, HotKeys: map[string][]float64{}}
	if w := t.Watermark(); w != eventtime.None {
		s.Watermark = time.UnixMilli(w).UTC()
	}
	for _, p := range t.Ports {
		if next, ok := p.Next(); ok {
			s.Positions[p.Part.String()] = next.String()
		}
		if p.Hot != nil {
			for _, k := range p.Hot.Top(3) {
				s.HotKeys[p.Part.String()] = append(s.HotKeys[p.Part.String()], k.Share)
			}
		}
		s.Lag += p.Lag()
		s.Records += p.Read()
	}
	for i := range t.Operators {
		o := &t.Operators[i]
		s.Late += o.Late
		s.Skipped += o.Skipped
		s.DeadLettered += o.DeadLettered
	}
	return s
}
