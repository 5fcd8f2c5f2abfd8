package operator

import (
	"encoding/binary"

	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

// span is one window of a key, where windows depend on the records of the key.
type span[A any] struct {
	from, to int64 // [from, to)
	time     int64 // largest event time among its records
	revision uint64
	closed   bool // it has closed, and is kept only for what later windows begin with
	val      A

	changed bool // since it was last emitted to OnCommit
	sent    bool // it was emitted to OnCommit
	waits   bool // it is to be emitted to OnPace
	paced   bool // it was emitted to OnPace

	// Where it stands with its trigger; see triggers.
	count  uint64 // records since it last fired by count
	fire   int64  // what it fires at next, if it is armed
	armed  bool
	ending bool // it is to fire at its end
	empty  bool // it was purged, and has taken no record since
	fired  bool // it was emitted to OnFire
}

func (s *span[A]) result(final bool) window.Span {
	return window.Span{From: s.from, To: s.to, Revision: s.revision, Final: final}
}

// spansCodec writes the windows of a key, in ascending order:
//
//	number uvarint | for each: start varint | length uvarint | time after start uvarint | revision uvarint | flags u8 |
//	[count uvarint] | [fire varint] | length of state uvarint | state
//
// The flags are 1 closed, 2 waits, 4 paced, 8 a count follows, 16 a time to fire at follows, 32 ending, 64 empty, 128
// fired. It is for one goroutine.
type spansCodec[A any] struct {
	vals codec.Codec[A]
	buf  []byte
}

func (s *spansCodec[A]) Name() string { return s.vals.Name() }

func (s *spansCodec[A]) Append(b []byte, list []span[A]) ([]byte, error) {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for i := range list {
		x := &list[i]
		b = binary.AppendVarint(b, x.from)
		b = binary.AppendUvarint(b, uint64(x.to-x.from))
		b = binary.AppendUvarint(b, uint64(x.time-x.from))
		b = binary.AppendUvarint(b, x.revision)
		flags := byte(0)
		for i, set := range [...]bool{x.closed, x.waits, x.paced, x.count > 0, x.armed, x.ending, x.empty, x.fired} {
			if set {
				flags |= 1 << i
			}
		}
		b = append(b, flags)
		if x.count > 0 {
			b = binary.AppendUvarint(b, x.count)
		}
		if x.armed {
			b = binary.AppendVarint(b, x.fire)
		}
		var err error
		if s.buf, err = s.vals.Append(s.buf[:0], x.val); err != nil {
			return b, err
		}
		b = binary.AppendUvarint(b, uint64(len(s.buf)))
		b = append(b, s.buf...)
	}
	return b, nil
}

func (s *spansCodec[A]) Decode(b []byte) (list []span[A], err error) {
	err = spanHeads(b, func(x span[A], state []byte) error {
		x.sent = true
		if x.val, err = s.vals.Decode(state); err != nil {
			return err
		}
		list = append(list, x)
		return nil
	})
	return list, err
}

// spanHeads calls f with each window, whose state it leaves encoded.
func spanHeads[A any](b []byte, f func(x span[A], state []byte) error) error {
	bad := false
	uvarint := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			b, bad = nil, true
			return 0
		}
		b = b[n:]
		return v
	}
	varint := func() int64 {
		v, n := binary.Varint(b)
		if n <= 0 {
			b, bad = nil, true
			return 0
		}
		b = b[n:]
		return v
	}
	for n := uvarint(); n > 0; n-- {
		var x span[A]
		from := varint()
		if bad {
			return errDamaged
		}
		x.from = from
		x.to = from + int64(uvarint())
		x.time = from + int64(uvarint())
		x.revision = uvarint()
		if len(b) == 0 {
			return errDamaged
		}
		flags := b[0]
		b = b[1:]
		x.closed, x.waits, x.paced = flags&1 != 0, flags&2 != 0, flags&4 != 0
		if flags&8 != 0 {
			x.count = uvarint()
		}
		if x.armed = flags&16 != 0; x.armed {
			x.fire = varint()
		}
		x.ending, x.empty, x.fired = flags&32 != 0, flags&64 != 0, flags&128 != 0
		size := uvarint()
		if bad || size > uint64(len(b)) {
			return errDamaged
		}
		if err := f(x, b[:size]); err != nil {
			return err
		}
		b = b[size:]
	}
	if bad || len(b) > 0 {
		return errDamaged
	}
	return nil
}

// clone copies an aggregate, with all that it refers to.
func (s *spansCodec[A]) clone(a A) (A, error) {
	var err error
	if s.buf, err = s.vals.Append(s.buf[:0], a); err != nil {
		return a, err
	}
	return s.vals.Decode(s.buf)
}

// SpanHead is a window of a key as it is stored, without its aggregate.
type SpanHead struct {
	From, To int64
	Revision uint64
	Closed   bool // it is kept only for what later windows begin with
}

// SpanHeads reads the windows in an entry of kind task.KindSpans.
func SpanHeads(value []byte) (list []SpanHead, err error) {
	_, _, value, err = entryHead(value)
	if err == nil {
		err = spanHeads(value, func(s span[struct{}], _ []byte) error {
			list = append(list, SpanHead{s.from, s.to, s.revision, s.closed})
			return nil
		})
	}
	return list, err
}
