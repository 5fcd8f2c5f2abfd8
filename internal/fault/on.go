//go:build millstream_fault

// Package fault marks the places at which a test may end or hold the process: the steps of the commit protocol.
package fault

import "sync/atomic"

// Enabled says whether this is a build with faults.
const Enabled = true

var hook atomic.Pointer[func(string)]

// On sets what happens at the places.
func On(f func(place string)) { hook.Store(&f) }

// At marks a place and calls what On has set.
func At(place string) {
	if f := hook.Load(); f != nil {
		(*f)(place)
	}
}
