//go:build !millstream_fault

package main

import "errors"

func onFault(func(place string)) error {
	return errors.New("this build has no places to die at: build it with the tag millstream_fault, as scripts/kinesistest.sh does")
}
