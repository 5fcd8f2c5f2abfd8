package window

import (
	"errors"
	"time"
)

// Sliding windows move with the records of a key: of all windows of the length Difference, both ends included, there
// is one for each set of records that such a window can hold. It is how Kafka Streams' SlidingWindows are defined
// (KIP-450). Two records are in a common window if their times differ by Difference at most.
//
// A record at t makes the window [t-Difference, t], in which it is the last one, and [t+1ms, t+1ms+Difference], from
// which it has dropped out, if that one holds anything. As a Span, whose end is exclusive, a window ends a millisecond
// after its last instant.
//
// A record is added to every window that it is in, so that work and state for a key grow with the number of its records
// within Difference and Grace.
type Sliding struct {
	Difference time.Duration
	// Grace is how long after a window's end its late records are still accepted. OnClose waits for it.
	Grace time.Duration
}

// Check implements Window.
func (w Sliding) Check() error {
	return errors.Join(positive("Difference", w.Difference), notNegative("Grace", w.Grace))
}

func (w Sliding) String() string { return "sliding " + w.Difference.String() }

// Trailing windows are what came before each record: a record at t has the window (t-Size, t], the record itself
// included. Records of a key at the same time share one. It is what SQL writes as RANGE BETWEEN … PRECEDING AND CURRENT
// ROW, and what features such as "amount spent in the last hour" mean. As a Span the window is [t-Size+1ms, t+1ms).
//
// A record that comes out of order is in the windows of later records too, and changes those that are still open. Work
// and state are those of Sliding.
type Trailing struct {
	Size time.Duration
	// Grace is how long after a record's time earlier ones are still waited for. OnClose waits for it.
	Grace time.Duration
}

// Check implements Window.
func (w Trailing) Check() error {
	return errors.Join(positive("Size", w.Size), notNegative("Grace", w.Grace))
}

func (w Trailing) String() string { return "trailing " + w.Size.String() }
