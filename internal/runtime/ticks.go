package runtime

import (
	"sync/atomic"
	"time"
)

// ticks says when epochs end: after each interval, or up to a tenth of it earlier, when records have just come.
//
// Records come with the answers to fetches, some milliseconds apart. An epoch that ends at any time is behind by what has gathered
// at the broker since the last answer, which then waits for a whole interval more. One that ends right after an answer has it all.
type ticks struct {
	every time.Duration
	timer *time.Timer
	last  time.Time // the end of the epoch, at the latest
	phase int
	// looks says that the epoch ends with the next records, and came that they are here.
	looks atomic.Bool
	came  chan struct{}
}

// The phases of an epoch. It ends when the timer says so in the second or the third.
const (
	filling = iota
	waiting // for records, to the end of its interval
	closing // when the records that have come are processed, about
)

func newTicks(every time.Duration) *ticks {
	t := &ticks{every: every, came: make(chan struct{}, 1)}
	t.timer, t.last = time.NewTimer(every-t.lead()), time.Now().Add(every)
	return t
}

// lead is by how much an epoch may be shorter than the interval.
func (t *ticks) lead() time.Duration { return t.every / 10 }

// settled is how long the records that come with the first ones, and what they cause, have to be processed.
func (t *ticks) settled() time.Duration { return min(time.Millisecond, t.lead()/4) }

// records says that some have come. Any goroutine may call it.
func (t *ticks) records() {
	if t.looks.Load() && t.looks.Swap(false) {
		select {
		case t.came <- struct{}{}:
		default:
		}
	}
}

// close lets the epoch end with what has come.
func (t *ticks) close() {
	if t.phase == waiting {
		t.phase = closing
		t.timer.Reset(min(t.settled(), time.Until(t.last)))
	}
}

// ends is called when the timer has fired. It says whether the epoch ends; then the next one has begun.
func (t *ticks) ends() bool {
	if t.phase == filling {
		t.phase = waiting
		t.looks.Store(true)
		t.timer.Reset(t.lead())
		return false
	}
	t.looks.Store(false)
	select {
	case <-t.came:
	default:
	}
	t.phase = filling
	t.timer.Reset(t.every - t.lead())
	t.last = time.Now().Add(t.every)
	return true
}
