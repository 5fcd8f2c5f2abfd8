package runtime

import (
	"context"
	"sync"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
)

// outputs is the gate between the workers and the open epoch. Records of the open epoch pass; those of the next one
// wait until it is opened, since a transaction holds one epoch. At-least-once nothing waits. At-most-once all wait until
// the state of their epoch is in the store.
type outputs struct {
	session connect.Session
	apart   connect.Apart // the session, if it must know whose the records are; else nil
	limit   int           // bytes that may wait
	hold    bool          // at-most-once
	free    bool          // at-least-once, without transactions

	mu      sync.Mutex
	open    uint64
	begun   bool
	early   bool // something was written of the next epoch
	waiting []written
	held    map[uint64][]written // by epoch
	bytes   int
}

// written is a list of records that a task has written.
type written struct {
	from source.Partition // the first that the task reads
	recs []sink.Record
}

// produce hands records to the session.
func (o *outputs) produce(ctx context.Context, w written) error {
	if o.apart != nil {
		return o.apart.ProduceFor(ctx, w.from, w.recs)
	}
	return o.session.Produce(ctx, w.recs)
}

// write takes a task's records of an epoch: the open one or the next. It keeps the list of records if kept is true.
func (o *outputs) write(ctx context.Context, epoch uint64, out written) (kept bool, err error) {
	recs := out.recs
	if len(recs) == 0 {
		return false, nil
	}
	o.mu.Lock()
	if epoch != o.open && o.free {
		o.early = true
		o.mu.Unlock()
		return false, o.produce(ctx, out)
	}
	if epoch != o.open || o.hold {
		if o.hold {
			o.held[epoch] = append(o.held[epoch], out)
		} else {
			o.waiting = append(o.waiting, out)
		}
		for i := range recs {
			o.bytes += len(recs[i].Key) + len(recs[i].Value) + 128
		}
		o.mu.Unlock()
		return true, nil
	}
	err = o.begin()
	o.mu.Unlock()
	if err != nil {
		return false, err
	}
	return false, o.produce(ctx, out)
}

// drain empties a task's outbox.
func (o *outputs) drain(ctx context.Context, epoch uint64, t *task.Task) error {
	kept, err := o.write(ctx, epoch, written{t.Ports[0].Part, t.Out.Records})
	t.Out.Reset(kept)
	return err
}

// begin opens the epoch in the session, if that was not done yet.
func (o *outputs) begin() error {
	if o.begun {
		return nil
	}
	o.begun = true
	return o.session.Begin()
}

// next opens an epoch, the last one being committed, and lets its records pass.
func (o *outputs) next(ctx context.Context, epoch uint64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	early := o.early
	o.open, o.begun, o.early = epoch, false, false
	if len(o.waiting) == 0 && !early {
		return nil
	}
	if err := o.begin(); err != nil {
		return err
	}
	for _, w := range o.waiting {
		if err := o.produce(ctx, w); err != nil {
			return err
		}
	}
	o.waiting, o.bytes = nil, 0
	return nil
}

// release lets the records pass that were held of the open epoch.
func (o *outputs) release(ctx context.Context) error {
	o.mu.Lock()
	lists := o.held[o.open]
	delete(o.held, o.open)
	for _, w := range lists {
		for i := range w.recs {
			o.bytes -= len(w.recs[i].Key) + len(w.recs[i].Value) + 128
		}
	}
	o.mu.Unlock()
	for _, w := range lists {
		if err := o.produce(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// ensure opens the epoch in the session even though nothing was written in it: there are positions to commit.
func (o *outputs) ensure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.begin()
}

// written says that something was written in the open epoch.
func (o *outputs) written() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.begun || len(o.held[o.open]) > 0
}

// full says that the next epoch must not write more before the last one is committed.
func (o *outputs) full() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes >= o.limit
}
