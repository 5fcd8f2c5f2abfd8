package main

import (
	"encoding/binary"
	"errors"

	"github.com/millstream-go/millstream/benchmarks/numbers"
	"github.com/millstream-go/millstream/stream/codec"
)

// decoder makes the event whose number was read.
type decoder struct{ g *generator }

var _ codec.Codec[Event] = decoder{}

func (d decoder) Decode(b []byte) (e Event, err error) {
	if n := binary.BigEndian.Uint64(b); n != numbers.End {
		d.g.event(n, &e)
	} else { // stands for an event of endKind
		e.Kind, e.Time = endKind, endTime
	}
	return e, nil
}
func (decoder) Append(dst []byte, _ Event) ([]byte, error) {
	return dst, errors.New("events are made, not written")
}
func (decoder) Name() string { return "mnx1" }
