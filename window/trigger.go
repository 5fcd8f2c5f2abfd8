package window

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Trigger says when a window fires, that is, when its result is emitted beside those that it emits anyway. Any of its
// conditions may be used together; a window fires when one of them is met.
//
// With a window's End, Grace is the lateness that is allowed: there is a result when the watermark reaches the end of
// the window, and a corrected one for each record that comes after it, until the window closes.
type Trigger struct {
	// Count fires a window with every Count-th record, counted from the last time that it fired so.
	Count int
	// Every fires a window when the watermark is past each multiple of Every (since 1970), from the first one after the
	// window's first record until its end, whether or not it has changed.
	Every time.Duration
	// End fires a window when the watermark reaches its end, and from then on with each record that it takes.
	End bool
	// Purge makes a window that has fired begin anew, without the records that it had; its revisions go on.
	Purge bool
}

// Check returns what is wrong with the parameters.
func (t Trigger) Check() error {
	var none, count, every error
	if t.Count == 0 && t.Every == 0 && !t.End {
		none = errors.New("the trigger never fires: set its Count, Every or End")
	}
	if t.Count < 0 {
		count = fmt.Errorf("the trigger's Count is %d: it must be at least 1", t.Count)
	}
	if t.Every != 0 {
		every = positive("the trigger's Every", t.Every)
	}
	return errors.Join(none, count, every)
}

// String names what is set.
func (t Trigger) String() string {
	list := []string{"fires"}
	if t.Count > 0 {
		list = append(list, fmt.Sprintf("every %d records", t.Count))
	}
	if t.Every > 0 {
		list = append(list, "every "+t.Every.String())
	}
	if t.End {
		list = append(list, "at its end")
	}
	if t.Purge {
		list = append(list, "and begins anew")
	}
	return strings.Join(list, " ")
}
