package runtime

import (
	"context"
	"sync"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/sink"
)

// outputs is the gate between the workers and the open epoch. Records of the open epoch pass; those of the next one
// wait until it is opened. At-most-once all wait until the state of their epoch is in the store.
type outputs struct {
	session connect.Session
	limit   int  // bytes that may wait
	hold    bool // at-most-once

	mu      sync.Mutex
	open    uint64
	begun   bool
	waiting [][]sink.Record
	held    map[uint64][][]sink.Record // by epoch
	bytes   int
}

// write takes records of an epoch: the open one or the next. It keeps the list of records if kept is true.
func (o *outputs) write(ctx context.Context, epoch uint64, recs []sink.Record) (kept bool, err error) {
	if len(recs) == 0 {
		return false, nil
	}
	o.mu.Lock()
	if epoch != o.open || o.hold {
		if o.hold {
			o.held[epoch] = append(o.held[epoch], recs)
		} else {
			o.waiting = append(o.waiting, recs)
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
	return false, o.session.Produce(ctx, recs)
}

// drain empties a task's outbox.
func (o *outputs) drain(ctx context.Context, epoch uint64, out *task.Outbox) error {
	kept, err := o.write(ctx, epoch, out.Records)
	out.Reset(kept)
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
	o.open, o.begun = epoch, false
	if len(o.waiting) == 0 {
		return nil
	}
	if err := o.begin(); err != nil {
		return err
	}
	for _, recs := range o.waiting {
		if err := o.session.Produce(ctx, recs); err != nil {
			return err
		}
	}
	o.waiting, o.bytes = nil, 0
	return nil
}

// release lets the records pass that were held of the open epoch.
func (o *outputs) release(ctx context.Context) error {
	o.mu.Lock()
	recs := o.held[o.open]
	delete(o.held, o.open)
	for _, list := range recs {
		for i := range list {
			o.bytes -= len(list[i].Key) + len(list[i].Value) + 128
		}
	}
	o.mu.Unlock()
	for _, list := range recs {
		if err := o.session.Produce(ctx, list); err != nil {
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
