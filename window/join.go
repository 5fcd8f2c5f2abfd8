package window

import (
	"errors"
	"fmt"
	"time"
)

// Join says which records of two streams belong together in time: a left and a right one of the same key, if
//
//	left - Before <= right <= left + After
//
// by their event times, both bounds included unless it is said otherwise. So Before reaches back from the left record, and After ahead. One of them
// may be negative: with Before: -time.Second, After: time.Minute, the right one comes one second to one minute after
// the left.
type Join struct {
	Before, After time.Duration
	// BeforeExclusive and AfterExclusive leave out the bound itself: left - Before < right, right < left + After.
	BeforeExclusive, AfterExclusive bool
	// Grace is how far a record may be behind the watermark and still be joined. A later one is late. What waits for a
	// match waits so much longer.
	Grace time.Duration
}

// Check returns what is wrong with the parameters.
func (j Join) Check() error {
	var empty error
	if before, after := j.Bounds(); before+after < 0 {
		empty = fmt.Errorf("the bounds Before %v and After %v%s: their sum must not be negative, or nothing matches", j.Before, j.After, j.exclusive())
	}
	return errors.Join(whole("Before", j.Before), whole("After", j.After), empty, notNegative("Grace", j.Grace))
}

// Bounds are Before and After as inclusive bounds: event time has whole milliseconds.
func (j Join) Bounds() (before, after time.Duration) {
	before, after = j.Before, j.After
	if j.BeforeExclusive {
		before -= time.Millisecond
	}
	if j.AfterExclusive {
		after -= time.Millisecond
	}
	return before, after
}

func (j Join) exclusive() string {
	switch {
	case j.BeforeExclusive && j.AfterExclusive:
		return ", both excluded"
	case j.BeforeExclusive:
		return ", the first excluded"
	case j.AfterExclusive:
		return ", the second excluded"
	}
	return ""
}

// String names the parameters that the state depends on.
func (j Join) String() string {
	return "join before " + j.Before.String() + " after " + j.After.String() + j.exclusive()
}
