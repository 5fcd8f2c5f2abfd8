package stream_test

import "flag"

// The models are compared on few inputs here, and on thousands by scripts/propertytest.sh; -rapid.checks says otherwise.
func init() { _ = flag.Set("rapid.checks", "20") }
