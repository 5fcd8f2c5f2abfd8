//go:build millstream_fault

package main

import "github.com/millstream-go/millstream/internal/fault"

func onFault(f func(place string)) error {
	fault.On(f)
	return nil
}
