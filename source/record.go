package source

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Header is a named value beside a record.
type Header struct {
	Key   string
	Value []byte
}

// Record is one record as a connector delivers it. Its bytes belong to the Batch that it came in.
type Record struct {
	Key, Value []byte // nil: no key, tombstone
	Headers    []Header
	Time       int64 // ms since the epoch, as the broker or stream recorded it
	Position   Position
}

// Partition names one ordered part of a stream: a Kafka partition, or a Kinesis shard by the number in its id.
type Partition struct {
	Stream string
	Index  int32
}

func (p Partition) String() string { return p.Stream + "/" + strconv.Itoa(int(p.Index)) }

// Position is a place in a partition. Positions of one partition are ordered; those of two are not compared. It holds
// a Kafka offset in Low, and has room for a Kinesis sequence number with its sub-sequence.
type Position struct {
	High, Mid, Low uint64
	Sub            int64
}

// At is the position of a system that counts its records with one number.
func At(offset int64) Position { return Position{Low: uint64(offset)} }

// Offset is the number that At was given.
func (p Position) Offset() int64 { return int64(p.Low) }

// Compare orders two positions of one partition.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.High, q.High), cmp.Compare(p.Mid, q.Mid), cmp.Compare(p.Low, q.Low), cmp.Compare(p.Sub, q.Sub))
}

// String prints an offset as a number, a place in a file (AtFile) as file:<number>:<byte>, and longer positions as their
// parts; ParsePosition reads it back.
func (p Position) String() string {
	if file, offset, ok := p.File(); ok {
		return fileString(file, offset)
	}
	if p.High == 0 && p.Mid == 0 && p.Sub == 0 {
		return strconv.FormatInt(int64(p.Low), 10)
	}
	return fmt.Sprintf("%x.%x.%x.%d", p.High, p.Mid, p.Low, p.Sub)
}

// ParsePosition reads what String wrote.
func ParsePosition(s string) (Position, error) {
	if strings.HasPrefix(s, filePrefix) {
		return parseFile(s)
	}
	parts := strings.Split(s, ".")
	if len(parts) == 1 {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return Position{}, fmt.Errorf("position %q is not a number", s)
		}
		return At(n), nil
	}
	if len(parts) != 4 {
		return Position{}, fmt.Errorf("position %q does not have 1 or 4 parts", s)
	}
	var p Position
	for i, f := range []*uint64{&p.High, &p.Mid, &p.Low} {
		n, err := strconv.ParseUint(parts[i], 16, 64)
		if err != nil {
			return Position{}, fmt.Errorf("position %q: part %d is not hexadecimal", s, i+1)
		}
		*f = n
	}
	sub, err := strconv.ParseInt(parts[3], 10, 64)
	if err != nil {
		return Position{}, fmt.Errorf("position %q: its last part is not a number", s)
	}
	p.Sub = sub
	return p, nil
}

// Batch is a run of records of one partition, in order.
type Batch struct {
	Partition Partition
	Records   []Record
	// Next is the position that follows the last record, also when what follows are only a broker's own marks. The
	// engine has read everything below it once the records are processed.
	Next Position
	// CaughtUp says that nothing lay behind Next when the batch was fetched.
	CaughtUp bool
	// End is the end of the partition when the batch was fetched, for the lag. Zero: unknown.
	End Position
	// Behind is how far Next lay behind the end in time when the batch was fetched, from systems that say that instead.
	Behind time.Duration
	// FetchedAt is when the answer came.
	FetchedAt time.Time
	// Bytes is what the batch holds in memory, for the queues' bounds.
	Bytes int
	// Release gives the records' memory back to the connector, once all are processed. It may be nil.
	Release func()
}
