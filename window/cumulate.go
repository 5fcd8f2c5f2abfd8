package window

import (
	"errors"
	"fmt"
	"time"
)

// Cumulate windows grow in steps up to Size, and then start anew: [n*Size, n*Size+Step), [n*Size, n*Size+2*Step), …,
// [n*Size, (n+1)*Size). With a day and an hour, each shows what has come since midnight, hour by hour. It is what Flink
// calls CUMULATE. A record is in all windows of its period that end after it.
type Cumulate struct {
	Size, Step time.Duration
	Offset     time.Duration // see Tumbling
	Grace      time.Duration // see Tumbling
}

// Alignment implements Aligned.
func (w Cumulate) Alignment() Alignment {
	step := w.Step.Milliseconds()
	return Alignment{Size: step, Advance: step, Offset: w.Offset.Milliseconds(), Grace: w.Grace.Milliseconds(), Period: w.Size.Milliseconds()}
}

// Check implements Window.
func (w Cumulate) Check() error {
	var more error
	if w.Step > 0 && w.Size%w.Step != 0 {
		more = fmt.Errorf("the Size is %v, no multiple of the Step of %v: the last window of a period would end after it", w.Size, w.Step)
	}
	return errors.Join(positive("Size", w.Size), positive("Step", w.Step), more, whole("Offset", w.Offset), notNegative("Grace", w.Grace))
}

func (w Cumulate) String() string {
	return "cumulate " + w.Size.String() + "/" + w.Step.String() + offset(w.Offset)
}
