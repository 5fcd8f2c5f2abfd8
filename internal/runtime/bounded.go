package runtime

import (
	"context"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/source"
)

// Runs that end by themselves: every source has an end. The run is over when all that there is to read has been processed
// and committed, by whichever instance: each source partition up to its end, then, in topological order, each repartition
// topic up to the end that it has once those before it are done. Nobody can write to it then, so that end is final.

// endCheck is how often it is looked whether the end has been reached.
const endCheck = 200 * time.Millisecond

// bounded says that every source has an end.
func (p *Program) bounded() bool {
	for _, sub := range p.Subtopologies {
		for _, in := range sub.Inputs {
			if !in.Port.Repartition && in.Start.Range.End == source.Never {
				return false
			}
		}
	}
	return true
}

// awaitEnd tells the coordinator when the end has been reached.
func (e *engine) awaitEnd(run context.Context, s connect.Ender) {
	tick := time.NewTicker(endCheck)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-run.Done():
			return
		}
		if !e.nothingQueued(run) {
			continue
		}
		done, err := e.finished(run, s)
		switch {
		case run.Err() != nil:
			return
		case err != nil:
			e.log.Warn("cannot find out whether the sources have been read to their ends; trying again", "err", err)
		case done:
			close(e.ended)
			return
		}
	}
}

// finished says that all there is to read has been processed and committed.
//
// At-most-once commits positions before what lies below them is processed. So what is committed up to its end has to be processed,
// and written, and only then is the end of the repartition topic that it was written to the last one: once for each step from one
// to the next, of which there are not more than subtopologies.
func (e *engine) finished(run context.Context, s connect.Ender) (bool, error) {
	for range e.prog.Subtopologies {
		if done, err := e.atEnd(run, s); !done || err != nil {
			return false, err
		}
		if e.cfg.Guarantee != connect.AtMostOnce {
			return true, nil
		}
		if !e.nothingQueued(run) {
			return false, nil
		}
		e.post(func() {
			if err := e.settle(run, nil); err != nil {
				e.fail(err)
			}
		})
	}
	return true, nil
}

// nothingQueued says that this instance has processed what it was handed, and has restored its tasks.
func (e *engine) nothingQueued(run context.Context) bool {
	idle := true
	e.post(func() {
		for _, s := range e.slots {
			idle = idle && s.worker != nil
		}
	})
	for _, w := range e.workers {
		w.do(run, func() {
			for _, t := range w.tasks {
				idle = idle && !t.Waits()
				for _, p := range t.Ports {
					idle = idle && p.Empty()
				}
			}
		})
	}
	return idle
}

// atEnd compares what is committed with the ends.
func (e *engine) atEnd(run context.Context, s connect.Ender) (bool, error) {
	counts := e.session.Partitions()
	for _, sub := range e.prog.Subtopologies {
		var parts []source.Partition
		for _, in := range sub.Inputs {
			for i := range counts[in.Port.Name] {
				if !in.Port.Memory {
					parts = append(parts, source.Partition{Stream: in.Port.Name, Index: i})
				}
			}
		}
		if len(parts) == 0 {
			continue
		}
		ends, err := s.Ends(run, parts)
		if err != nil {
			return false, err
		}
		committed, err := e.session.Committed(run, parts)
		if err != nil {
			return false, err
		}
		for p, end := range ends {
			if c, ok := committed[p]; !ok || c.Position.Compare(end) < 0 {
				if !ok && e.startsBehind(run, p, end) {
					continue
				}
				return false, nil
			}
		}
	}
	return true, nil
}

// startsBehind says that a partition of this instance was begun at its end, or behind it, so that no position of it is
// ever committed. Of one that was read to its end there will be one, with what it has caused.
func (e *engine) startsBehind(run context.Context, part source.Partition, end source.Position) (yes bool) {
	for _, w := range e.workers {
		w.do(run, func() {
			for _, t := range w.tasks {
				for _, p := range t.Ports {
					if at, known := p.Next(); p.Part == part && p.Read() == 0 && known && at.Compare(end) >= 0 {
						yes = true
					}
				}
			}
		})
	}
	return yes
}
