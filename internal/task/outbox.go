package task

import (
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
)

// Chunks begin small, because there may be a thousand tasks, and grow with what a task writes.
const (
	firstChunk = 1 << 10
	chunk      = 64 << 10
)

// Outbox collects what a task writes, until the worker takes it along after a step. The bytes lie in chunks that are
// never used twice, so that they can be handed to a client without a copy.
type Outbox struct {
	Records []sink.Record
	Bytes   int
	arena   []byte
	headers []source.Header
	last    int

	headersMade int
}

// Header returns a list of n headers to fill in.
func (o *Outbox) Header(n int) []source.Header {
	if len(o.headers) < n {
		o.headersMade = max(min(2*o.headersMade, 256), 8)
		o.headers = make([]source.Header, max(o.headersMade, n))
	}
	h := o.headers[:n:n]
	o.headers = o.headers[n:]
	return h
}

// mark is a place to go back to.
type mark struct{ records, bytes int }

func (o *Outbox) mark() mark { return mark{len(o.Records), o.Bytes} }

func (o *Outbox) rewind(m mark) { o.Records, o.Bytes = o.Records[:m.records], m.bytes }

// Buf returns an empty slice to append a key and a value to, which Add then takes.
func (o *Outbox) Buf() []byte {
	if cap(o.arena)-len(o.arena) < 2*o.last+64 {
		o.arena = make([]byte, 0, max(min(2*cap(o.arena), chunk), firstChunk, 4*o.last))
	}
	return o.arena[len(o.arena):]
}

// Add adds a record. b is what became of the slice from Buf: the key in its first keyLen bytes (no key if negative),
// then the value.
func (o *Outbox) Add(stream string, partition int32, b []byte, keyLen int, headers []source.Header, time int64, tombstone bool) {
	r := sink.Record{Stream: stream, Partition: partition, Headers: headers, Time: time}
	if keyLen >= 0 {
		r.Key = b[:keyLen:keyLen]
	} else {
		keyLen = 0
	}
	if !tombstone {
		r.Value = b[keyLen:len(b):len(b)]
	}
	o.Records = append(o.Records, r)
	o.Bytes += len(b) + 64
	o.last = len(b)
	if n := len(o.arena) + len(b); n <= cap(o.arena) && len(b) > 0 && &o.arena[:n][n-1] == &b[len(b)-1] {
		o.arena = o.arena[:n]
	} // else b outgrew the chunk and has memory of its own
}

// Take empties the outbox.
func (o *Outbox) Take() []sink.Record {
	r := o.Records
	o.Reset(true)
	return r
}

// Reset empties the outbox, once its records are taken care of. If the list of them is kept by whoever did that, the
// outbox makes a new one.
func (o *Outbox) Reset(kept bool) {
	if kept {
		o.Records = make([]sink.Record, 0, len(o.Records))
	}
	o.Records, o.Bytes = o.Records[:0], 0
}
