package conformance

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/window"
)

// Flink's windows. Its allowed lateness is the grace period with results from a window's end on, so a trigger for End.
// A trigger that a case names replaces that one. Flink emits nothing for a session that was merged into another.

// flinkWindowSpec is a window as a case writes it.
type flinkWindowSpec struct {
	Type      string `json:"type"`
	SizeMS    int64  `json:"size_ms"`
	AdvanceMS int64  `json:"advance_ms"`
	OffsetMS  int64  `json:"offset_ms"`
	GapMS     int64  `json:"gap_ms"`
	GapFn     string `json:"gap_fn"`
}

// of is the stream in the window.
func (w flinkWindowSpec) of(s Stream, lateness time.Duration) (out stream.Windowed[Key, Value], err error) {
	switch w.Type {
	case "tumbling":
		return s.Window(window.Tumbling{Size: ms(w.SizeMS), Offset: ms(w.OffsetMS), Grace: lateness}), nil
	case "hopping":
		return s.Window(window.Hopping{Size: ms(w.SizeMS), Advance: ms(w.AdvanceMS), Offset: ms(w.OffsetMS), Grace: lateness}), nil
	case "session":
		return s.Window(window.Session{Gap: ms(w.GapMS), Grace: lateness}), nil
	case "session_dynamic":
		var base, step, m int64
		if n, err := fmt.Sscanf(w.GapFn, "%d+%d*(num mod %d)", &base, &step, &m); n != 3 || err != nil || m <= 0 {
			return out, unknown("gap", w.GapFn)
		}
		return s.SessionBy(func(v Value) time.Duration { return ms(base + step*mod(v.Num(), m)) }, lateness), nil
	case "global":
		return s.Window(window.Global{}), nil
	}
	return out, unknown("window", w.Type)
}

// flinkTrigger is the trigger that a case names; nil is Flink's default.
func flinkTrigger(spec *string) (t window.Trigger, err error) {
	if spec == nil {
		return window.Trigger{End: true}, nil
	}
	name, arg := parse(*spec)
	var n int64
	switch name {
	case "event_time":
		return window.Trigger{End: true}, nil
	case "event_time_purging":
		return window.Trigger{End: true, Purge: true}, nil
	case "count":
		n, err = positive(*spec, arg)
		return window.Trigger{Count: int(n)}, err
	case "count_purging":
		n, err = positive(*spec, arg)
		return window.Trigger{Count: int(n), Purge: true}, err
	case "continuous":
		n, err = positive(*spec, arg)
		return window.Trigger{Every: ms(n), End: true}, err
	}
	return t, unknown("trigger", *spec)
}

func flinkWindow(b *build, n Node) error {
	var f struct {
		Input, Fn        string
		Window           json.RawMessage
		Lateness         int64 `json:"allowed_lateness_ms"`
		Trigger, Evictor *string
	}
	if err := n.Into(&f); err != nil {
		return err
	}
	var spec flinkWindowSpec
	if err := strict(f.Window, &spec); err != nil {
		return fmt.Errorf("window: %w", err)
	}
	w, err := spec.of(b.flinkSource(f.Input), ms(f.Lateness))
	if err != nil {
		return err
	}
	trigger, err := flinkTrigger(f.Trigger)
	if err != nil {
		return err
	}
	global := spec.Type == "global"
	if global && trigger.Every > 0 {
		trigger.End = false // it has none
	}
	w = w.Trigger(trigger)
	last := int64(0)
	if f.Evictor != nil {
		name, arg := parse(*f.Evictor)
		if name != "count" {
			return unknown("evictor", *f.Evictor)
		}
		if last, err = positive(*f.Evictor, arg); err != nil {
			return err
		}
	}
	b.timeless["out"] = global
	fired := func(k Key, s window.Span, v Value) Record {
		if s.Retracted {
			return Record{}
		}
		if !global {
			k = k.In(Span{Start: s.From, End: s.To})
		}
		return Record{k, v}
	}
	var results stream.Stream[Record]
	var late stream.Stream[Record]
	lateRecord := func(k Key, r stream.LateRecord[Value]) Record { return Record{k, r.Value} }
	switch {
	case f.Fn == "process_concat", f.Fn == "aggregate_concat" && last > 0: // an evictor needs the elements
		a := w.Collect("windows", int(last))
		results = a.OnFire(func(k Key, s window.Span, list []Value) Record { return fired(k, s, concat(list)) })
		late = a.Late(lateRecord)
	case f.Fn == "aggregate_concat":
		a := w.FoldMerge("windows", func(a *Value, v Value) { *a = joined(0)(*a, v) },
			func(a *Value, b Value) { *a = Text(a.String() + "+" + b.String()) }, values)
		results, late = a.OnFire(fired), a.Late(lateRecord)
	default:
		return unknown("function", f.Fn)
	}
	b.to("out", keyed(results.Filter(func(r Record) bool { return !r.Key.IsNull() })))
	b.to("late", keyed(late))
	return nil
}

// concat joins values by commas.
func concat(list []Value) Value {
	s := make([]string, len(list))
	for i, v := range list {
		s[i] = v.String()
	}
	return Text(strings.Join(s, ","))
}

// flinkSource is a source whose records do not move the watermark: the case does.
func (b *build) flinkSource(topic string) Stream {
	return b.t.FromKeyed(b.source(topic)).Watermark(stream.Watermark{OutOfOrder: flinkBound})
}

// noTime is how a case writes that a result has no time: it comes from a window that has no end.
const noTime = math.MaxInt64
