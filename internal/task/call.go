package task

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/millstream-go/millstream/source"
)

// A task waits for nothing. An operator that needs a slow answer keeps the record, asks whoever runs the task for a Call,
// and goes on when the Answer is handed in, which may be many records and epochs later.

// Call is a call of a user's function that is made outside of the task's steps, on another goroutine.
type Call struct {
	Operator string
	Input    any           // what the function is called with, for the test driver
	After    time.Duration // how long to wait before the call
	Timeout  time.Duration // after which Failed is handed in instead; 0: never
	// Run makes the call. It does not panic.
	Run func(ctx context.Context) Answer
	// Failed is the answer of a call that was not made to its end.
	Failed func(err error) Answer
}

// Answer goes on with what a Call was made for. It runs in a step of the task.
type Answer func(c *Ctx)

// answers are those that wait for the next step.
type answers struct {
	mu   sync.Mutex
	list []Answer
}

// Answer hands in the answer of a call. Any goroutine may call it.
func (t *Task) Answer(a Answer) {
	t.answers.mu.Lock()
	t.answers.list = append(t.answers.list, a)
	t.answers.mu.Unlock()
}

// takeAnswers goes on with what has been answered.
func (t *Task) takeAnswers() (worked bool) {
	t.answers.mu.Lock()
	list := t.answers.list
	t.answers.list = nil
	t.answers.mu.Unlock()
	for _, a := range list {
		if t.err != nil {
			break
		}
		t.touched, worked = true, true
		t.ctx.Port = nil
		a(&t.ctx)
	}
	return worked
}

// Full keeps the task from reading records, or (full false) lets it read again. Every operator that says so must take it
// back.
func (t *Task) Full(full bool) {
	if full {
		t.full++
	} else {
		t.full--
	}
}

// Waiting is a stateful operator that may keep records that a task's end must wait for.
type Waiting interface {
	// Waits says that it keeps records, or that what has become of them is not committed yet.
	Waits() bool
}

// Waits says that the task keeps records that calls were made for.
func (t *Task) Waits() bool {
	for _, s := range t.stateful {
		if w, ok := s.(Waiting); ok && w.Waits() {
			return true
		}
	}
	return false
}

// Hold keeps the watermark behind an operator from overtaking the records that it keeps: clocks behind it show no more
// than W.
type Hold struct{ W int64 }

// NewHold is a hold that holds nothing.
func NewHold() *Hold { return &Hold{math.MaxInt64} }

// Holder is a stateful operator with a Hold. It is restored before the clocks behind it are set.
type Holder interface{ Hold() *Hold }

// Released lets the clocks behind a hold go on, after it was raised.
func (t *Task) Released(h *Hold) {
	fire := false
	for _, k := range t.clocks {
		for _, o := range k.holds {
			if w := k.now(); o == h && w > k.W {
				t.moved = true
				if k.stage == 0 {
					k.W = w
				}
				fire = fire || w >= k.due
			}
		}
	}
	if fire {
		t.fire()
	} else {
		t.show(math.MaxInt)
	}
}

// Kept is what is known of a record besides its value, for an operator that goes on with it later.
type Kept struct {
	Time      int64
	Watermark int64 // of the operator when the record came
	Key       []byte
	Headers   []source.Header
	// Port and Record are the input that it came from and the record as it was read. Port is nil if there is none: it was
	// emitted by a window or a timer.
	Port   *Port
	Record source.Record
}

// Keep copies what is known of the record at hand.
func (c *Ctx) Keep(watermark int64) *Kept {
	k := &Kept{Time: c.Time, Watermark: watermark, Key: cloneBytes(c.Key), Headers: cloneHeaders(c.Headers), Port: c.Port}
	if c.Port != nil {
		r := c.Port.atHand()
		k.Record = source.Record{Key: cloneBytes(r.Key), Value: cloneBytes(r.Value), Headers: cloneHeaders(r.Headers), Time: r.Time, Position: r.Position}
	}
	return k
}

// Continue runs f for a record that was kept. If it is given up on, or f panics, what it has written is taken back, and
// the policy is applied as if the record had just been read.
func (t *Task) Continue(k *Kept, f func(c *Ctx)) {
	c := &t.ctx
	t.keep()
	m := c.Begin()
	c.Time, c.Key, c.Headers, c.Port = k.Time, k.Key, k.Headers, nil
	defer func() {
		if v := recover(); v != nil {
			c.panicked(v)
		}
		switch {
		case c.rejected == nil:
			t.keep()
		case k.Port == nil:
			t.giveUpResult(m)
		default:
			t.Cross.rewind(m.cross)
			t.giveUp(k.Port, &k.Record, m.out)
		}
	}()
	f(c)
}

func cloneBytes(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append([]byte{}, b...)
}

func cloneHeaders(list []source.Header) []source.Header {
	if len(list) == 0 {
		return nil
	}
	out := make([]source.Header, len(list))
	for i, h := range list {
		out[i] = source.Header{Key: h.Key, Value: cloneBytes(h.Value)}
	}
	return out
}

// AppendKept appends the encoding of k, a version byte first.
func AppendKept(b []byte, k *Kept) []byte {
	b = append(b, markerVersion)
	b = binary.AppendVarint(b, k.Time)
	b = binary.AppendVarint(b, k.Watermark)
	b = appendOptional(b, k.Key)
	b = appendHeaders(b, k.Headers)
	b = appendBool(b, k.Port != nil)
	if k.Port == nil {
		return b
	}
	b = appendString(b, k.Port.Part.Stream)
	b = binary.AppendUvarint(b, uint64(k.Port.Part.Index))
	r := &k.Record
	b = AppendPosition(b, r.Position)
	b = binary.AppendVarint(b, r.Time)
	b = appendOptional(appendOptional(b, r.Key), r.Value)
	return appendHeaders(b, r.Headers)
}

// DecodeKept reads what AppendKept wrote, and returns what follows it. The port is nil if the task does not read it any
// more.
func (t *Task) DecodeKept(b []byte) (*Kept, []byte, error) {
	d := decoder{b: b}
	if d.byte() != markerVersion {
		return nil, nil, errors.New("it has a format that this program does not know")
	}
	k := &Kept{Time: d.varint(), Watermark: d.varint(), Key: d.optional(), Headers: d.headers()}
	if d.bool() {
		part := source.Partition{Stream: d.string(), Index: int32(d.uvarint())}
		k.Record = source.Record{Position: d.position(), Time: d.varint(), Key: d.optional(), Value: d.optional()}
		k.Record.Headers = d.headers()
		for _, p := range t.Ports {
			if p.Part == part {
				k.Port = p
			}
		}
	}
	if d.bad {
		return nil, nil, errors.New("it is damaged")
	}
	return k, d.b, nil
}

// appendOptional appends bytes that may be nil.
func appendOptional(b, v []byte) []byte {
	if v == nil {
		return binary.AppendUvarint(b, 0)
	}
	return append(binary.AppendUvarint(b, uint64(len(v))+1), v...)
}

func appendHeaders(b []byte, list []source.Header) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, h := range list {
		b = appendOptional(appendString(b, h.Key), h.Value)
	}
	return b
}

func (d *decoder) optional() []byte {
	n := d.uvarint()
	if n == 0 || n-1 > uint64(len(d.b)) {
		d.bad = d.bad || n != 0
		return nil
	}
	v := append([]byte{}, d.b[:n-1]...)
	d.b = d.b[n-1:]
	return v
}

func (d *decoder) headers() (list []source.Header) {
	for range d.count() {
		list = append(list, source.Header{Key: d.string(), Value: d.optional()})
	}
	return list
}
