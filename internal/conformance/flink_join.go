package conformance

import (
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/window"
)

// Flink's interval join. A record is late there if its time is before Flink's watermark, which is ours less a
// millisecond: so with a grace period of a millisecond. Times are whole milliseconds, and an exclusive bound is the next
// one within it.
func flinkIntervalJoin(b *build, n Node) error {
	var f struct {
		Left, Right    string
		LowerMS        int64 `json:"lower_ms"`
		UpperMS        int64 `json:"upper_ms"`
		LowerExclusive bool  `json:"lower_exclusive"`
		UpperExclusive bool  `json:"upper_exclusive"`
	}
	if err := n.Into(&f); err != nil {
		return err
	}
	join, err := joiner("pair")
	if err != nil {
		return err
	}
	w := window.Join{Before: ms(-f.LowerMS), After: ms(f.UpperMS), BeforeExclusive: f.LowerExclusive, AfterExclusive: f.UpperExclusive, Grace: ms(1)}
	l, r := b.flinkSource(f.Left), b.flinkSource(f.Right)
	j := l.Join("join", r, w, func(l, r Value) Value { return join(&l, &r) })
	b.to("out", j.Keyed)
	late := func(k Key, r stream.LateRecord[Value]) Record { return Record{k, r.Value} }
	b.to("late-left", keyed(j.LateLeft(late)))
	b.to("late-right", keyed(j.LateRight(late)))
	return nil
}
