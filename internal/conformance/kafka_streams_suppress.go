package conformance

import (
	"errors"
	"fmt"
	"time"

	"github.com/millstream-go/millstream/stream"
)

// Suppress: what waits for a time, or until its window takes nothing more.

func kafkaSuppress(b *build, n Node) error {
	var f struct {
		Input, Until string
		LimitMS      *int64 `json:"time_limit_ms"`
		MaxRecords   *int   `json:"max_records"`
	}
	if err := n.Into(&f); err != nil {
		return err
	}
	most := 0
	if f.MaxRecords != nil {
		most = *f.MaxRecords
	}
	switch f.Until {
	case "time_limit":
		var t Table
		var err error
		if w, ok := b.window[f.Input]; ok {
			t = keyed(w.update(w.result)).ToTable(n.ID+"-updates", values)
		} else if t, err = b.rows(f.Input); err != nil {
			return err
		}
		if f.LimitMS == nil {
			return errors.New("it has no limit")
		}
		b.table[n.ID] = t.Suppress(n.ID, stream.Suppression{Limit: ms(*f.LimitMS), MaxRows: most}, values)
		return nil
	case "window_closes":
		w, ok := b.window[f.Input]
		if !ok {
			return fmt.Errorf("there are no windows %q before it", f.Input)
		}
		until := func(k Key, _ Value) time.Time {
			if _, s, _ := k.parts(); s != nil {
				return time.UnixMilli(s.End + w.after)
			}
			return time.Time{}
		}
		b.stream[n.ID] = keyed(w.update(w.result)).SuppressUntil(n.ID, until, most, values)
		return nil
	}
	return unknown("end of suppression", f.Until)
}
