package kinesis

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"math/bits"
	"time"

	"github.com/millstream-go/millstream/source"
)

// Positions. A sequence number is a decimal number of up to 56 digits; it fills the three words of a source.Position. Sub
// is the place of a record inside an aggregate, 0 for a plain record, so the position behind a record is its own with
// Sub one higher.
//
// No sequence number is below 2^128. The positions below it stand for a beginning: zero for the oldest record that there
// is, a number of milliseconds since the epoch (in Low) for the first record that arrived then or later.

// sequence reads a sequence number.
func sequence(s string) (p source.Position, err error) {
	if len(s) == 0 || len(s) > 57 {
		return p, fmt.Errorf("sequence number %.70q is not one of 1 to 57 digits", s)
	}
	for digits := s; len(digits) > 0; {
		n := min(18, len(digits))
		chunk, scale := uint64(0), uint64(1)
		for _, c := range []byte(digits[:n]) {
			if c < '0' || c > '9' {
				return source.Position{}, fmt.Errorf("sequence number %q is not one of 1 to 57 digits", s)
			}
			chunk, scale = chunk*10+uint64(c-'0'), scale*10
		}
		p = scaled(p, scale, chunk)
		digits = digits[n:]
	}
	return p, nil
}

// sequences reads sequence numbers that differ in their last digits only, as those of a shard mostly do, with less work.
type sequences struct {
	head string // what the last number began with
	at   source.Position
}

// lastDigits is how many of them are read anew.
const lastDigits = 18

func (q *sequences) read(s string) (p source.Position, err error) {
	n := len(s) - lastDigits
	if n < 1 || s[:n] != q.head {
		if p, err = sequence(s); err == nil && n > 0 {
			q.head = s[:n]
			q.at, err = sequence(q.head)
		}
		return p, err
	}
	tail, err := sequence(s[n:])
	if err != nil {
		return sequence(s) // the error names all of it
	}
	return scaled(q.at, 1_000_000_000_000_000_000, tail.Low), nil
}

// scaled is p*scale + n.
func scaled(p source.Position, scale, n uint64) source.Position {
	var carry uint64
	step := func(word uint64) uint64 {
		hi, lo := bits.Mul64(word, scale)
		lo, over := bits.Add64(lo, n, 0)
		carry = hi + over
		return lo
	}
	p.Low = step(p.Low)
	n = carry
	p.Mid = step(p.Mid)
	n = carry
	p.High = step(p.High)
	return p
}

// number is the sequence number of a position.
func number(p source.Position) string {
	var b [24]byte
	binary.BigEndian.PutUint64(b[:], p.High)
	binary.BigEndian.PutUint64(b[8:], p.Mid)
	binary.BigEndian.PutUint64(b[16:], p.Low)
	return new(big.Int).SetBytes(b[:]).String()
}

// begins says that a position is no record's, but stands for a beginning.
func begins(p source.Position) bool { return p.High == 0 }

// arrived is the position of the first record that arrived at a time or later.
func arrived(t time.Time) source.Position { return source.Position{Low: uint64(max(t.UnixMilli(), 1))} }
