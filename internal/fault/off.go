//go:build !millstream_fault

// Package fault marks the places at which a test may end or hold the process: the steps of the commit protocol. In a
// normal build it is nothing at all; with the build tag millstream_fault, At calls what On has set.
package fault

// Enabled says whether this is a build with faults.
const Enabled = false

// At marks a place. It does nothing in this build.
func At(string) {}
