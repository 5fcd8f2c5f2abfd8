package task

import (
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/millstream-go/millstream/source"
)

// Cut ends the task's part of an epoch: it hands over what has changed and where the inputs stand.
func (t *Task) Cut(epoch uint64) (d *Delta, err error) {
	defer func() {
		if v := recover(); v != nil { // a codec of the user's
			d, err = nil, fmt.Errorf("task %s: hand over state: %w", t.ID(), &PanicError{Value: v, Stack: debug.Stack()})
		}
	}()
	d = &Delta{Task: t, Epoch: epoch, Touched: t.touched || t.moved, Positions: map[source.Partition]source.Position{}, Watermarks: map[source.Partition]int64{}}
	t.flush()
	if t.err != nil {
		return nil, t.err
	}
	d.Entries, t.entries = t.entries, nil
	for _, s := range t.stateful {
		if err := s.Cut(d); err != nil {
			return nil, fmt.Errorf("task %s: hand over state: %w", t.ID(), err)
		}
	}
	for _, p := range t.Ports {
		if p.known && !p.Spec.Memory {
			d.Positions[p.Part], d.Watermarks[p.Part] = p.next, p.Input.Watermark
			if len(p.guard.Waiting) > 0 {
				if d.Waiting == nil {
					d.Waiting = map[source.Partition][]int64{}
				}
				d.Waiting[p.Part] = slices.Clone(p.guard.Waiting)
			}
		}
	}
	for i := range t.carries {
		if c := &t.carries[i]; !c.memory {
			now := t.carry(c)
			c.seen = max(c.seen, now.Watermark)
			d.Carry = append(d.Carry, now)
		}
	}
	if len(d.Entries) > 0 || len(d.logOnly) > 0 {
		d.Touched = true
	}
	switch {
	case t.Spec.Changelog != "" && d.Touched:
		t.mark(d)
	case len(d.Entries) == 0: // nothing was put into the list
		d.Entries, t.entries = nil, d.Entries
	}
	d.Marker = t.Marker
	t.touched, t.moved = false, false
	return d, nil
}

// Flush lets the operators emit what they emit once an epoch, ahead of the Cut. It is for tasks that hand it to others of
// this process, whose part of the epoch it is.
func (t *Task) Flush() error {
	if t.state == Running && t.err == nil {
		t.flush()
	}
	return t.err
}

func (t *Task) flush() {
	defer t.recoverTimer()
	t.ctx.Port = nil
	t.keep()
	for _, o := range t.flushers {
		o.Flush(&t.ctx)
	}
}

func (t *Task) mark(d *Delta) {
	m := &Marker{Owner: t.Spec.Owner, Epoch: d.Epoch}
	for _, p := range t.Ports {
		m.Inputs = append(m.Inputs, MarkerInput{Stream: p.Part.Stream, Index: p.Part.Index, Position: p.next, Watermark: p.Input.Watermark,
			Max: p.Time.Max, Idle: p.Input.Idle, Carried: p.Carried.Tasks, Waiting: slices.Clone(p.guard.Waiting)})
	}
	for _, s := range t.stateful {
		if c, ok := s.(Closer); ok {
			m.Closed = append(m.Closed, c.ClosedThrough())
		}
	}
	t.Marker = m
	t.entries = d.sort()
	key := MarkerKey(t.Spec.Subtopology)
	b := append(d.Buf(len(key)+256), key...)
	d.Put(AppendMarker(b, m), len(key), false, false)
}

// Resume sets the watermark of an input of a task that keeps no changelog: it travels with the committed position.
func (t *Task) Resume(part source.Partition, watermark int64) {
	for _, p := range t.Ports {
		if p.Part == part && !p.Spec.Repartition && watermark > p.Input.Watermark {
			p.Input.Watermark = watermark
			p.Time.Max = watermark + p.Spec.Bound
			p.seen = p.Time.Max
		}
	}
	t.resumed()
}

// Doubt sets the times that are not believed of an input of such a task.
func (t *Task) Doubt(part source.Partition, times []int64) {
	for _, p := range t.Ports {
		if p.Part == part {
			p.guard.Waiting = slices.Clone(times)
		}
	}
}

// Inherit sets the watermark of an input that goes on where others have ended, and lets the operators see it.
func (t *Task) Inherit(part source.Partition, watermark int64) {
	t.Resume(part, watermark)
	for _, k := range t.clocks {
		if w, ok := k.merge(); ok {
			k.next = max(k.next, w)
			k.W = max(k.W, k.now())
		}
	}
	t.rearm()
}

// Quiet says that nothing is left to be done or handed over: what the inputs brought is processed, and was in a cut.
func (t *Task) Quiet() bool {
	if t.touched || t.moved || t.err != nil || t.Changed() > 0 || t.Waits() || len(t.Out.Records) > 0 || !t.Cross.Empty() {
		return false
	}
	for _, p := range t.Ports {
		if !p.Empty() {
			return false
		}
	}
	return true
}

// Carries returns the watermarks for tasks of this process, whether they have moved or not.
func (t *Task) Carries() (list []Carry) {
	for i := range t.carries {
		if c := &t.carries[i]; c.memory {
			list = append(list, t.carry(c))
		}
	}
	return list
}

// Applied says that the epoch is in the store.
func (t *Task) Applied(epoch uint64) {
	for _, s := range t.stateful {
		s.Applied(epoch)
	}
	t.settled = t.Held()
}

// Changed is about how many bytes the next Cut will hand over; Held is what the caches hold.
func (t *Task) Changed() (n int) {
	for _, s := range t.stateful {
		n += s.Changed()
	}
	return n
}

// Grown is by how many bytes the caches have grown since an epoch was applied last, and what is not needed was dropped. Rows
// that were only read make them grow, too.
func (t *Task) Grown() int { return max(0, t.Held()-t.settled) }

// Stores are the numbers of the task's stores.
func (t *Task) Stores() (ids []uint32) {
	for _, s := range t.stateful {
		ids = append(ids, s.StoreID())
	}
	return ids
}

// Ranges are the keys of the task's stores, without its marker and its position in the changelog.
func (t *Task) Ranges() (list []Range) {
	for kind := KindValue; kind <= KindPane; kind++ {
		if kind == KindMarker || kind == KindLocal || kind == KindInput {
			continue
		}
		for _, id := range t.Stores() {
			list = append(list, Range{Lo: AppendPrefix(nil, kind, id, 0), Hi: append(AppendPrefix(nil, kind, id, ^uint16(0)), 0xff)})
		}
	}
	return list
}

// Room is how many bytes a stateful operator may hold that holds this many now: its share of what the task may, and what the
// others leave of theirs.
func (t *Task) Room(held int) int {
	all := int(t.Spec.MaxHeld.Load())
	return max(all/max(len(t.stateful), 1), all-(t.Held()-held), 0)
}

// Held is what the caches hold, about, in bytes.
func (t *Task) Held() (n int) {
	for _, s := range t.stateful {
		n += s.Held()
	}
	for i := range t.carries {
		if g := t.carries[i].gather; g != nil {
			n += g.Held()
		}
	}
	return n
}
