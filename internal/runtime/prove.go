package runtime

import (
	"context"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/source"
)

// Proven-idle time: partitions whose watermark is to go on while they are silent are asked where they end; see task.Proof.

// provePace returns how often partitions are asked; 0 if none need to be.
func (p *Program) provePace() time.Duration {
	least := int64(0)
	for _, sub := range p.Subtopologies {
		for _, in := range sub.Inputs {
			if d := in.Port.ProvenAfter; d > 0 && in.Start.Range.End == source.Never && (least == 0 || d < least) {
				least = d
			}
		}
	}
	return max(time.Duration(least)*time.Millisecond/2, min(time.Duration(least)*time.Millisecond, 100*time.Millisecond))
}

// prove asks until run ends.
func (e *engine) prove(run context.Context, s connect.Ender, pace time.Duration) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	failed := false
	for {
		select {
		case <-tick.C:
		case <-run.Done():
			return
		}
		silent := e.silent()
		if len(silent) == 0 {
			continue
		}
		parts := make([]source.Partition, len(silent))
		for i, p := range silent {
			parts[i] = p.Part
		}
		at := e.now()
		ends, err := s.Ends(run, parts)
		switch {
		case run.Err() != nil:
			return
		case err != nil && !failed:
			e.log.Warn("cannot find out where silent partitions end, so that their watermarks stand still; trying again", "err", err)
		}
		if failed = err != nil; failed {
			continue
		}
		for _, p := range silent {
			end, ok := ends[p.Part]
			p.Prove(task.Proof{At: at, End: end, Nothing: !ok})
			if w := p.worker.Load(); w != nil {
				w.poke()
			}
		}
	}
}

// silent are the ports without queued records whose time may be proven.
func (e *engine) silent() (list []*port) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, p := range e.ports {
		if p.Spec.ProvenAfter > 0 && !p.Spec.Repartition && p.worker.Load() != nil && p.Queued() == 0 {
			list = append(list, p)
		}
	}
	return list
}
