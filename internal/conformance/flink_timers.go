package conformance

import (
	"fmt"
	"math"
	"time"

	"github.com/millstream-go/millstream/stream"
)

// timerState is what the function of the cases keeps for each key.
type timerState struct {
	N     int64 // elements
	Timer int64 // the one that is set, for mode idle
	Set   bool
}

// flinkTimers is a function with timers. Its modes say when an element's timer fires: after a delay, at the end of the
// time slice that it is in, or, one for each key, when no other has come for so long.
func flinkTimers(b *build, n Node) error {
	var f struct {
		Input, Mode string
		DelayMS     int64 `json:"delay_ms"`
	}
	if err := n.Into(&f); err != nil {
		return err
	}
	type process = stream.Process[Key, timerState, Record]
	at := func(n int64) time.Time { return time.UnixMilli(n) }
	watermark := func(p *process) int64 {
		w := p.Watermark()
		if w.Before(time.UnixMilli(0).Add(-flinkBound / 2)) {
			return math.MinInt64 // that of the records, see flinkBound: the case has not given one
		}
		return w.UnixMilli() - 1
	}
	var set func(p *process, s *timerState, ts int64)
	idle := false
	switch f.Mode {
	case "each":
		set = func(p *process, _ *timerState, ts int64) { p.SetTimer(at(ts + f.DelayMS)) }
	case "bucket":
		set = func(p *process, _ *timerState, ts int64) { p.SetTimer(at(ts - mod(ts, f.DelayMS) + f.DelayMS)) }
	case "idle":
		idle = true
		set = func(p *process, s *timerState, ts int64) {
			if s.Set {
				p.ClearTimer(at(s.Timer))
			}
			s.Timer, s.Set = ts+f.DelayMS, true
			p.SetTimer(at(s.Timer))
		}
	default:
		return unknown("mode", f.Mode)
	}
	onRecord := func(p *process, v Value) {
		s := p.State()
		s.N++
		set(p, s, p.Time().UnixMilli())
		p.Emit(Record{p.Key(), Text(fmt.Sprintf("in:%s:wm=%d", v, watermark(p)))})
	}
	onTimer := func(p *process, t stream.Timer) {
		s, _ := p.Get()
		p.Emit(Record{p.Key(), Text(fmt.Sprintf("timer:n=%d:wm=%d", s.N, watermark(p)))})
		if idle {
			p.Clear()
		}
	}
	b.to("out", keyed(b.flinkSource(f.Input).Process("timers", onRecord, onTimer)))
	return nil
}
