package operator

import (
	"encoding/binary"

	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// How the messages and the state of a join by a foreign key are written. A "part" has its length in front.

func appendPart[V any](b []byte, c codec.Codec[V], v V) ([]byte, error) {
	part, err := c.Append(nil, v)
	if err != nil {
		return b, err
	}
	return append(binary.AppendUvarint(b, uint64(len(part))), part...), nil
}

func cutPart(b []byte) (part, rest []byte, err error) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return nil, nil, errDamaged
	}
	return b[w : w+int(n)], b[w+int(n):], nil
}

// SubscriptionCodec writes a byte (what it does; 16: moved), the number as a uvarint, the key.
func SubscriptionCodec[K comparable](keys codec.Codec[K]) codec.Codec[Subscription[K]] {
	return subscriptionCodec[K]{keys}
}

type subscriptionCodec[K comparable] struct{ keys codec.Codec[K] }

func (x subscriptionCodec[K]) Name() string { return "subscription of " + x.keys.Name() }

func (x subscriptionCodec[K]) Append(b []byte, s Subscription[K]) ([]byte, error) {
	flags := byte(s.Does)
	if s.Moved {
		flags |= 16
	}
	return x.keys.Append(binary.AppendUvarint(append(b, flags), s.Number), s.Key)
}

func (x subscriptionCodec[K]) Decode(b []byte) (s Subscription[K], err error) {
	if len(b) == 0 || b[0]&15 > byte(Dissolve) {
		return s, errDamaged
	}
	s.Does, s.Moved = SubscriptionDoes(b[0]&15), b[0]&16 != 0
	n, w := binary.Uvarint(b[1:])
	if w <= 0 {
		return s, errDamaged
	}
	s.Number = n
	s.Key, err = x.keys.Decode(b[1+w:])
	return s, err
}

// AnswerCodec writes a byte (1: there is a row, 2: dissolved, 4: moved), the number as a uvarint, the foreign key as a
// part, the row.
func AnswerCodec[F comparable, R any](foreign codec.Codec[F], vals codec.Codec[R]) codec.Codec[Answer[F, R]] {
	return answerCodec[F, R]{foreign, vals}
}

type answerCodec[F comparable, R any] struct {
	foreign codec.Codec[F]
	vals    codec.Codec[R]
}

func (x answerCodec[F, R]) Name() string {
	return "answer of " + x.foreign.Name() + ", " + x.vals.Name()
}

func (x answerCodec[F, R]) Append(b []byte, a Answer[F, R]) (_ []byte, err error) {
	flags := byte(0)
	for i, set := range []bool{a.Row != nil, a.Dissolved, a.Moved} {
		if set {
			flags |= 1 << i
		}
	}
	b = binary.AppendUvarint(append(b, flags), a.Number)
	if b, err = appendPart(b, x.foreign, a.Foreign); err != nil || a.Row == nil {
		return b, err
	}
	return x.vals.Append(b, *a.Row)
}

func (x answerCodec[F, R]) Decode(b []byte) (a Answer[F, R], err error) {
	if len(b) == 0 || b[0] > 7 {
		return a, errDamaged
	}
	flags := b[0]
	a.Dissolved, a.Moved = flags&2 != 0, flags&4 != 0
	n, w := binary.Uvarint(b[1:])
	if w <= 0 {
		return a, errDamaged
	}
	a.Number = n
	part, b, err := cutPart(b[1+w:])
	if err != nil {
		return a, err
	}
	if a.Foreign, err = x.foreign.Decode(part); err != nil || flags&1 == 0 {
		return a, err
	}
	v, err := x.vals.Decode(b)
	a.Row = &v
	return a, err
}

// linkCodec writes the number as a uvarint, a byte (1: there is a result), the result.
type linkCodec[O any] struct{ vals codec.Codec[O] }

func (x linkCodec[O]) Name() string { return x.vals.Name() }

func (x linkCodec[O]) Append(b []byte, v linked[O]) ([]byte, error) {
	b = binary.AppendUvarint(b, v.number)
	if v.result == nil {
		return append(b, 0), nil
	}
	return x.vals.Append(append(b, 1), *v.result)
}

func (x linkCodec[O]) Decode(b []byte) (v linked[O], err error) {
	n, w := binary.Uvarint(b)
	if w <= 0 || w >= len(b) || b[w] > 1 {
		return v, errDamaged
	}
	v.number = n
	if b[w] == 1 {
		r, err := x.vals.Decode(b[w+1:])
		if err != nil {
			return v, err
		}
		v.result = &r
	}
	return v, nil
}

// pairCodec writes the foreign key as a part, then the key.
type pairCodec[F, K comparable] struct {
	foreign codec.Codec[F]
	keys    codec.Codec[K]
}

func (x pairCodec[F, K]) Name() string { return x.foreign.Name() + ", " + x.keys.Name() }

func (x pairCodec[F, K]) Append(b []byte, p pair[F, K]) ([]byte, error) {
	b, err := appendPart(b, x.foreign, p.foreign)
	if err != nil {
		return b, err
	}
	return x.keys.Append(b, p.key)
}

func (x pairCodec[F, K]) Decode(b []byte) (p pair[F, K], err error) {
	part, b, err := cutPart(b)
	if err != nil {
		return p, err
	}
	if p.foreign, err = x.foreign.Decode(part); err != nil {
		return p, err
	}
	p.key, err = x.keys.Decode(b)
	return p, err
}

// first is the key group of a pair: that of its foreign key.
func (x pairCodec[F, K]) first(b []byte, groups int) uint16 {
	part, _, err := cutPart(b)
	if err != nil {
		return 0
	}
	return task.Group(part, groups)
}

// numberCodec writes a uvarint.
type numberCodec struct{}

func (numberCodec) Name() string { return "number" }

func (numberCodec) Append(b []byte, n uint64) ([]byte, error) { return binary.AppendUvarint(b, n), nil }

func (numberCodec) Decode(b []byte) (uint64, error) {
	n, w := binary.Uvarint(b)
	if w <= 0 {
		return 0, errDamaged
	}
	return n, nil
}
