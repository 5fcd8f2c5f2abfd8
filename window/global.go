package window

import "time"

// Global has one window for each key, which holds all of its records and never ends. It needs a Trigger, which says when
// it has results. No record is late. As a Span it reaches from the smallest to the largest number there is.
type Global struct {
	// TTL is how long a key is kept for: its window closes when the watermark reaches the largest time of its records
	// and TTL; a record that comes later begins a new one. With 0 a key is kept for ever.
	TTL time.Duration
}

// Check implements Window.
func (w Global) Check() error { return notNegative("TTL", w.TTL) }

func (w Global) String() string { return "global" }
