package operator

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/millstream-go/millstream/internal/task"
)

// sweep is how far the removal of expired cells has come.
type sweep struct {
	at   []byte // the key to go on from; nil: none is under way
	last int64  // the watermark at the last step
	due  int64  // the watermark at which the next one begins
	// of and time are the cell before: what its key begins with, up to the sub-key, and its time.
	of   []byte
	time int64
}

// sweepStep is how many cells a step of a sweep looks at.
const sweepStep = 256

// Clock implements task.Timed.
func (o *Cells[K, S, V]) Clock() *task.Clock { return o.clock }

// Due implements task.Timed.
func (o *Cells[K, S, V]) Due() int64 {
	if o.sweep.at != nil {
		return o.sweep.last + 1
	}
	return o.sweep.due
}

// Advance implements task.Timed: a step of the sweep. It looks at what the store has; what is not there yet will be when
// the next sweep comes.
func (o *Cells[K, S, V]) Advance(c *task.Ctx, w int64) {
	lo, _ := o.store.bounds(0, nil)
	_, hi := o.store.bounds(uint16(o.store.groups-1), nil)
	if o.sweep.at == nil {
		o.sweep = sweep{due: w + max(1, o.TTL/2)}
	} else {
		lo = o.sweep.at
	}
	o.sweep.at, o.sweep.last = nil, w
	n := 0
	err := o.store.task.View.Scan(lo, hi, func(key, value []byte) error {
		if n++; n > sweepStep {
			o.sweep.at = slices.Clone(key)
			return errStop
		}
		return o.look(key, value)
	})
	if err != nil && !errors.Is(err, errStop) {
		c.Task.Fail(fmt.Errorf("store %s: %w", o.store.name, err))
	}
}

// look removes a cell of the store if it has expired.
func (o *Cells[K, S, V]) look(key, value []byte) error {
	user := o.store.userKey(key)
	n, w := binary.Uvarint(user)
	if w <= 0 || n > uint64(len(user)-w) {
		return &task.StateError{Store: o.store.name, Doing: "read key", Err: errDamaged}
	}
	sub := user[w+int(n):]
	s, err := o.Subs.Decode(sub)
	if err != nil {
		return &task.StateError{Store: o.store.name, Doing: "decode sub-key", Err: err}
	}
	_, time, _, err := entryHead(value)
	if err != nil {
		return &task.StateError{Store: o.store.name, Doing: "read entry", Err: err}
	}
	over := o.lapsed(s, time)
	if o.Versions {
		of := key[:len(key)-len(sub)]
		over = bytes.Equal(of, o.sweep.of) && behind(o.sweep.time, o.TTL, o.clock.W)
		o.sweep.of, o.sweep.time = append(o.sweep.of[:0], of...), o.Since(s)
	}
	if !over {
		return nil
	}
	k, err := o.store.keys.Decode(user)
	if err != nil {
		return &task.StateError{Store: o.store.name, Doing: "decode key", Err: err}
	}
	e := o.table.lookup(k)
	switch {
	case e == nil:
		e = o.table.insert(k)
		e.logged = true
	case !e.live || !o.Versions && !o.lapsed(s, e.time):
		return nil // it was deleted, or written anew
	}
	o.expire(e)
	return nil
}
