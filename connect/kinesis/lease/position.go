package lease

import (
	"encoding/binary"
	"fmt"
	"math/big"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/source"
)

// A checkpoint in the table is the last record that was processed: its sequence number, and its place in the aggregate
// that has this number. The engine's position is the next one that was not: the place after it. So the two differ by one in the
// place. A position at the very beginning of a record, of which nothing was processed, has place -1 in the table;
// readers compare places and begin with place 0.

//
// Positions whose first word is 0 are no record's. They stand for a beginning: zero for the beginning of the shard, otherwise
// a time in milliseconds since the epoch.

// mark is a position as the table has it.
type mark struct {
	checkpoint string
	sub        int64
	since      int64 // of AT_TIMESTAMP
}

func written(p source.Position) mark {
	switch {
	case p == connect.Ended:
		return mark{checkpoint: shardEnd}
	case p == source.Position{}:
		return mark{checkpoint: trimHorizon}
	case p.High == 0:
		return mark{checkpoint: string(AtTimestamp), since: int64(p.Low)}
	}
	var b [24]byte
	binary.BigEndian.PutUint64(b[:], p.High)
	binary.BigEndian.PutUint64(b[8:], p.Mid)
	binary.BigEndian.PutUint64(b[16:], p.Low)
	return mark{checkpoint: new(big.Int).SetBytes(b[:]).String(), sub: p.Sub - 1}
}

// position is a lease's checkpoint as a position; nil: it has none and begins where its source begins.
func (r row) position() (*source.Position, error) {
	switch r.checkpoint {
	case shardEnd:
		return &connect.Ended, nil
	case trimHorizon:
		return &source.Position{}, nil
	case "", string(Latest), string(AtTimestamp):
		if r.since > 0 {
			return &source.Position{Low: uint64(r.since)}, nil
		}
		return nil, nil
	}
	n, ok := new(big.Int).SetString(r.checkpoint, 10)
	if !ok || n.Sign() < 0 || n.BitLen() <= 128 || n.BitLen() > 192 {
		return nil, fmt.Errorf("row %q of the lease table: checkpoint %.100q is no sequence number", r.key, r.checkpoint)
	}
	var b [24]byte
	n.FillBytes(b[:])
	return &source.Position{High: binary.BigEndian.Uint64(b[:]), Mid: binary.BigEndian.Uint64(b[8:]), Low: binary.BigEndian.Uint64(b[16:]), Sub: r.sub + 1}, nil
}
