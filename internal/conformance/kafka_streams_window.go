package conformance

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

// Kafka Streams' aggregations and their windows.

// windowSpec is a window as a case writes it.
type windowSpec struct {
	Type         string `json:"type"`
	SizeMS       int64  `json:"size_ms"`
	AdvanceMS    int64  `json:"advance_ms"`
	GraceMS      int64  `json:"grace_ms"`
	GapMS        int64  `json:"gap_ms"`
	DifferenceMS int64  `json:"time_difference_ms"`
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// kafkaWindow is the window of a node; nil if it has none.
func kafkaWindow(raw json.RawMessage, retention int64) (w window.Window, inclusive bool, err error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, false, nil
	}
	var s windowSpec
	if err := strict(raw, &s); err != nil {
		return nil, false, fmt.Errorf("window: %w", err)
	}
	switch s.Type {
	case "tumbling":
		return window.Tumbling{Size: ms(s.SizeMS), Grace: ms(s.GraceMS)}, false, nil
	case "hopping":
		return window.Hopping{Size: ms(s.SizeMS), Advance: ms(s.AdvanceMS), Grace: ms(s.GraceMS)}, false, nil
	case "session":
		return window.Session{Gap: ms(s.GapMS), Grace: ms(s.GraceMS), Retention: ms(retention)}, true, nil
	case "sliding":
		return window.Sliding{Difference: ms(s.DifferenceMS), Grace: ms(s.GraceMS)}, true, nil
	}
	return nil, false, unknown("window", s.Type)
}

// after is for how long a window takes records after its end, as a case writes that.
func after(w window.Window) int64 {
	switch w := w.(type) {
	case window.Tumbling:
		return w.Grace.Milliseconds()
	case window.Hopping:
		return w.Grace.Milliseconds()
	case window.Sliding:
		return w.Grace.Milliseconds()
	case window.Session:
		return (w.Gap + w.Grace).Milliseconds()
	}
	return 0
}

func kafkaAggregate(b *build, n Node) error {
	var f struct {
		Input, Group, Fn, Store string
		Window                  json.RawMessage
		Emit                    *string
		RetentionMS             int64 `json:"retention_ms"` // of sessions; other windows are kept as long as they are needed
	}
	if err := n.Into(&f); err != nil {
		return err
	}
	s, err := b.in(f.Input)
	if err != nil {
		return err
	}
	agg, err := aggregation(f.Fn)
	if err != nil {
		return err
	}
	if s, err = grouped(s, f.Group); err != nil {
		return err
	}
	b.operators = append(b.operators, f.Store)
	w, inclusive, err := kafkaWindow(f.Window, f.RetentionMS)
	if err != nil {
		return err
	}
	add := func(a *Value, v Value) { *a = agg.add(*a, v) }
	if w == nil {
		if f.Emit != nil && *f.Emit != "on_update" {
			return unknown("emit strategy without a window", *f.Emit)
		}
		if agg.reduce {
			b.table[n.ID] = s.Reduce(f.Store, agg.add, values)
		} else {
			b.table[n.ID] = s.Fold(f.Store, add, values)
		}
		return nil
	}
	out := windows{store: f.Store, inclusive: inclusive, after: after(w)}
	if f.Emit != nil {
		switch *f.Emit {
		case "on_update":
		case "on_window_close":
			out.final = true
		default:
			return unknown("emit strategy", *f.Emit)
		}
	}
	var of stream.Aggregated[Key, Value, Value]
	switch in := s.Window(w); {
	case agg.reduce:
		of = in.Reduce(f.Store, agg.add, values)
	case agg.merge != nil:
		of = in.FoldMerge(f.Store, add, func(a *Value, v Value) { *a = agg.merge(*a, v) }, values)
	default:
		of = in.Fold(f.Store, add, values)
	}
	out.update, out.close = of.OnUpdate[Record], of.OnClose[Record]
	b.window[n.ID] = out
	return nil
}

// grouped is a stream by other keys; "key" are those that it has.
func grouped(s Stream, by string) (Stream, error) {
	if by == "key" {
		return s, nil
	}
	key, err := keyFn(by)
	if err != nil {
		return s, err
	}
	return keyed(records(s).Map(func(r Record) Record { return Record{key(r.Key, r.Value), r.Value} })), nil
}

func kafkaToStream(b *build, n Node) error {
	var f struct{ Input string }
	if err := n.Into(&f); err != nil {
		return err
	}
	if w, ok := b.window[f.Input]; ok {
		if w.final {
			b.stream[n.ID] = keyed(w.close(w.result))
		} else {
			b.stream[n.ID] = keyed(w.update(w.result))
		}
		return nil
	}
	if s, ok := b.stream[f.Input]; ok { // windows that wait until they take nothing more
		b.stream[n.ID] = s
		return nil
	}
	t, err := b.rows(f.Input)
	if err == nil {
		b.stream[n.ID] = t.ToStream()
	}
	return err
}

// kafkaOptions are how the driver runs a case of Kafka Streams.
func kafkaOptions(c *Case) []streamtest.Option {
	return []streamtest.Option{streamtest.Semantics(kafkaSemantics(c))}
}
