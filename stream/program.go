package stream

import (
	"errors"

	engine "github.com/millstream-go/millstream/internal/runtime"
)

// Program is for package streamtest. It returns the topology in the form that the engine runs, with its sources and
// sinks, or every mistake in it, joined.
func (t *Topology) Program(app string, s Semantics) (*engine.Program, []engine.End, error) {
	if errs := append(t.graph.Check(app), t.checkGlobals()...); len(errs) > 0 {
		return nil, nil, errors.Join(errs...)
	}
	return t.program(app, s), t.ends, nil
}
