package main

import (
	"encoding/binary"
	"errors"
)

// pair is what W4 makes of a left and a right event: both sequence numbers, the newer send time, the sum of the amounts.
type pair [32]byte

func paired(l, r *event) (p pair) {
	copy(p[:], l[offSeq:offSeq+8])
	copy(p[8:], r[offSeq:offSeq+8])
	binary.BigEndian.PutUint64(p[16:], max(l.stamp(), r.stamp()))
	binary.BigEndian.PutUint64(p[24:], uint64(l.amount()+r.amount()))
	return p
}

// errOnlyWritten says that a codec of an output is not one for reading.
var errOnlyWritten = errors.New("this codec only writes")

type pairCodec struct{}

func (pairCodec) Append(dst []byte, p pair) ([]byte, error) { return append(dst, p[:]...), nil }
func (pairCodec) Decode([]byte) (pair, error)               { return pair{}, errOnlyWritten }
func (pairCodec) Name() string                              { return "pair" }

// enriched is what W5 makes of an event and the row of its user: the event, and 16 bytes of the row.
type enriched struct{ e, user *event }

type enrichedCodec struct{}

func (enrichedCodec) Append(dst []byte, v enriched) ([]byte, error) {
	return append(append(dst, v.e[:]...), v.user[offAmount:offAmount+16]...), nil
}
func (enrichedCodec) Decode([]byte) (enriched, error) { return enriched{}, errOnlyWritten }
func (enrichedCodec) Name() string                    { return "enriched" }
