package kinesis

import (
	"errors"
	"fmt"
	"time"
)

// Write is how streams are written. The zero value keeps the order of each key and writes plain records.
type Write struct {
	// Unordered lets several records of a key be under way at once. It is faster where keys are few. By default a key has one
	// at a time, since the service promises no order within a request nor between two: a record waits until the one before it
	// has been acknowledged.
	Unordered bool
	// Strict writes each record, or aggregate, by a PutRecord of its own that names the one before it (SequenceNumberForOrdering),
	// one at a time in each shard: each record's sequence number is then larger than that of the one before it of its key, by the service's
	// word. By default that follows from a key's records being sent one after the other, each acknowledged before the next. It costs
	// throughput: a shard takes one record in the time of a call.
	Strict bool
	// Aggregate packs small records of a shard into one, in the format of the Kinesis Producer Library. All consumers must
	// take them apart. A key's records keep their order inside an aggregate, so many of them can travel at once.
	Aggregate bool
	// Calls is how many requests may be under way at once, per stream. The default is 4.
	Calls int
	// Linger is how long a record waits for others to fill the request. The end of an epoch does not wait. The default is
	// 10 ms.
	Linger time.Duration
	// MaxBuffered bounds, in bytes and per stream, what waits and what is under way. The default is 32 MiB.
	MaxBuffered int
	// RequestBytes bounds a request. The service accepts 10 MiB. The default is 5 MiB.
	RequestBytes int
	// Share is the part of a shard's limits (1 MiB and 1,000 records a second) that this instance may use, more than 0 and up to
	// 1. The default is 1. Where a shard refuses nevertheless, less is used for a while.
	Share float64
}

// most is how many records a request may have.
func (w Write) most() int {
	if w.Strict {
		return 1
	}
	return maxRecords
}

func (w Write) withDefaults() Write {
	def(&w.Calls, 4)
	def(&w.Linger, 10*time.Millisecond)
	def(&w.MaxBuffered, 32<<20)
	def(&w.RequestBytes, 5<<20)
	def(&w.Share, 1)
	return w
}

func (w Write) check() (errs []error) {
	if w.Strict && w.Unordered {
		errs = append(errs, errors.New("Write.Strict and Write.Unordered exclude each other"))
	}
	if w.Calls < 1 {
		errs = append(errs, fmt.Errorf("Write.Calls is %d: it must be at least 1", w.Calls))
	}
	if w.MaxBuffered < 1<<20 {
		errs = append(errs, fmt.Errorf("Write.MaxBuffered is %d bytes: it must be at least 1 MiB", w.MaxBuffered))
	}
	if w.RequestBytes < 1<<20 || w.RequestBytes > maxRequest {
		errs = append(errs, fmt.Errorf("Write.RequestBytes is %d: it must be from 1 MiB to 10 MiB", w.RequestBytes))
	}
	if !(w.Share > 0 && w.Share <= 1) {
		errs = append(errs, errors.New("Write.Share must be more than 0 and at most 1"))
	}
	return errs
}
