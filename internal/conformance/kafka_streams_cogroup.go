package conformance

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/millstream-go/millstream/stream"
)

// Cogroup: several streams, one aggregate.

func kafkaCogroup(b *build, n Node) error {
	var f struct {
		Inputs []struct{ Input, Group, Fn string }
		Window json.RawMessage
		Store  string
	}
	if err := n.Into(&f); err != nil {
		return err
	}
	w, inclusive, err := kafkaWindow(f.Window, 0)
	if err != nil {
		return err
	}
	b.operators = append(b.operators, f.Store)
	var g stream.Cogrouped[Key, Value]
	var merge func(a, b Value) Value
	for i, in := range f.Inputs {
		s, err := b.in(in.Input)
		if err != nil {
			return err
		}
		if s, err = grouped(s, in.Group); err != nil {
			return err
		}
		agg, err := aggregation(in.Fn)
		if err != nil {
			return err
		}
		if agg.reduce {
			return fmt.Errorf("function %q cannot begin with nothing", in.Fn)
		}
		if merge == nil {
			merge = agg.merge
		}
		add := func(a *Value, v Value) { *a = agg.add(*a, v) }
		if i == 0 {
			g = s.Cogroup(add)
		} else {
			g = g.With(s, add)
		}
	}
	switch {
	case len(f.Inputs) == 0:
		return errors.New("it has no inputs")
	case w == nil:
		b.table[n.ID] = g.Fold(f.Store, values)
		return nil
	}
	out := windows{store: f.Store, inclusive: inclusive, after: after(w)}
	var of stream.Aggregated[Key, stream.Contribution[Value], Value]
	if merge != nil {
		of = g.Window(w).FoldMerge(f.Store, func(a *Value, b Value) { *a = merge(*a, b) }, values)
	} else {
		of = g.Window(w).Fold(f.Store, values)
	}
	out.update, out.close = of.OnUpdate[Record], of.OnClose[Record]
	b.window[n.ID] = out
	return nil
}
