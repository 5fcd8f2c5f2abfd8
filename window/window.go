// Package window has the kinds of windows, as plain structs, and the pure arithmetic of which windows a time belongs
// to. It knows nothing of streams or state.
package window

import (
	"errors"
	"fmt"
	"time"
)

// Window is one of the kinds in this package.
type Window interface {
	// Check returns what is wrong with the parameters.
	Check() error
	// String names kind and parameters. It is stored with the state; a state with other parameters is refused.
	String() string
}

// Aligned is a window kind whose windows lie at fixed places in time, the same for all keys.
type Aligned interface {
	Window
	// Alignment returns size, advance, offset and grace in milliseconds.
	Alignment() Alignment
}

// Alignment places aligned windows: [n*Advance+Offset, n*Advance+Offset+Size) for every whole n. In milliseconds. A
// window is known by its place, which is where it starts; of a cumulating one, where its last step does. An Alignment
// is for one goroutine.
type Alignment struct {
	Size, Advance, Offset, Grace int64
	Period                       int64 // of cumulating windows: they all start at a multiple of it, and Size is their step
	days                         *days // of calendar days, which have no size
}

// First is the place of the first window that t is in; the others follow every Advance, up to and including Last.
func (a Alignment) First(t int64) int64 {
	if a.days != nil {
		from, _ := a.days.at(t)
		return from
	}
	return t - a.Size - floorMod(t-a.Size-a.Offset, a.Advance) + a.Advance
}

// Last is the place of the last window that t is in.
func (a Alignment) Last(t int64) int64 {
	if a.days != nil {
		return a.First(t)
	}
	if a.Period > 0 {
		return a.From(t) + a.Period - a.Size
	}
	return t - floorMod(t-a.Offset, a.Advance)
}

// Single says that each time is in just one window.
func (a Alignment) Single() bool {
	return a.days != nil || a.Period == 0 && a.Advance == a.Size
}

// From is the start of the window at a place.
func (a Alignment) From(place int64) int64 {
	if a.Period > 0 {
		return place - floorMod(place-a.Offset, a.Period)
	}
	return place
}

// To is the end of the window at a place, exclusive.
func (a Alignment) To(place int64) int64 {
	if a.days != nil {
		_, to := a.days.at(place)
		return to
	}
	return place + a.Size
}

// Span is the window at a place.
func (a Alignment) Span(place int64) Span { return Span{From: a.From(place), To: a.To(place)} }

func floorMod(t, n int64) int64 {
	m := t % n
	if m < 0 {
		m += n
	}
	return m
}

// Tumbling windows lie side by side: each record is in exactly one, [n*Size, (n+1)*Size) since the epoch.
type Tumbling struct {
	Size time.Duration
	// Offset moves the windows, for example by the offset of a time zone from UTC.
	Offset time.Duration
	// Grace is how long after a window's end its late records are still accepted. OnClose waits for it.
	Grace time.Duration
}

// Alignment implements Aligned.
func (w Tumbling) Alignment() Alignment {
	size := w.Size.Milliseconds()
	return Alignment{Size: size, Advance: size, Offset: w.Offset.Milliseconds(), Grace: w.Grace.Milliseconds()}
}

// Check implements Window.
func (w Tumbling) Check() error {
	return errors.Join(positive("Size", w.Size), whole("Offset", w.Offset), notNegative("Grace", w.Grace))
}

func (w Tumbling) String() string { return "tumbling " + w.Size.String() + offset(w.Offset) }

// Hopping windows of one size start every Advance and overlap, so that a record is in Size/Advance of them (rounded
// up).
type Hopping struct {
	Size, Advance time.Duration
	Offset        time.Duration // see Tumbling
	Grace         time.Duration // see Tumbling
}

// Alignment implements Aligned.
func (w Hopping) Alignment() Alignment {
	return Alignment{Size: w.Size.Milliseconds(), Advance: w.Advance.Milliseconds(), Offset: w.Offset.Milliseconds(), Grace: w.Grace.Milliseconds()}
}

// Check implements Window.
func (w Hopping) Check() error {
	var more error
	if w.Advance > w.Size {
		more = fmt.Errorf("the Advance is %v, longer than the Size of %v: records between two windows would be in none", w.Advance, w.Size)
	}
	return errors.Join(positive("Size", w.Size), positive("Advance", w.Advance), more, whole("Offset", w.Offset), notNegative("Grace", w.Grace))
}

func (w Hopping) String() string {
	return "hopping " + w.Size.String() + "/" + w.Advance.String() + offset(w.Offset)
}

func offset(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return "+" + d.String()
}

func positive(name string, d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf("%s is %v: it must be at least 1ms", name, d)
	}
	return whole(name, d)
}

func notNegative(name string, d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("%s is %v: it must not be negative", name, d)
	}
	return whole(name, d)
}

func whole(name string, d time.Duration) error {
	if d%time.Millisecond != 0 {
		return fmt.Errorf("%s is %v: event time has whole milliseconds", name, d)
	}
	return nil
}

// Span is one window as results carry it: [Start, End), with the state of the result in it.
type Span struct {
	From, To int64 // ms since the epoch; To is exclusive
	// Revision counts the updates of this key's result in this window, from 1.
	Revision uint64
	// Final says that the window has closed: no further result follows.
	Final bool
	// Retracted says that there is no such window any more, because it has become (part of) one that starts elsewhere:
	// sessions merge. The result that comes with it is the last one that the window had, with the next revision.
	Retracted bool
}

// Start is the first instant of the window.
func (s Span) Start() time.Time { return time.UnixMilli(s.From).UTC() }

// End is the first instant after the window.
func (s Span) End() time.Time { return time.UnixMilli(s.To).UTC() }

func (s Span) String() string {
	return "[" + s.Start().Format(time.RFC3339Nano) + ", " + s.End().Format(time.RFC3339Nano) + ")"
}
