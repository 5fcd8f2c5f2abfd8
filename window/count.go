package window

import (
	"errors"
	"fmt"
	"time"
)

// Count windows hold Size records of a key each, in the order in which they are read; their times play no part. A
// window closes with its last record. No record is late.
//
// The results depend on the order in which records are read, which is fixed only within a partition of the source.
type Count struct {
	Size int
	// TTL is how long a window waits for its next record: it closes with those that it has when the watermark reaches
	// the largest of their times and TTL. Without it a key that falls silent would be kept for ever.
	TTL time.Duration
}

// Check implements Window.
func (w Count) Check() error {
	var size error
	if w.Size < 1 {
		size = fmt.Errorf("the Size is %d: it must be at least 1", w.Size)
	}
	return errors.Join(size, positive("TTL", w.TTL))
}

func (w Count) String() string { return fmt.Sprintf("count %d", w.Size) }
