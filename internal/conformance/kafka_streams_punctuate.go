package conformance

import "github.com/millstream-go/millstream/stream"

// kafkaPunctuate is a function that hands on each record, and tells at intervals how many it has seen since it last did.
func kafkaPunctuate(b *build, n Node) error {
	var f struct {
		Input, Time string
		IntervalMS  int64 `json:"interval_ms"`
	}
	if err := n.Into(&f); err != nil {
		return err
	}
	when := stream.Schedule{Every: ms(f.IntervalMS)}
	switch f.Time {
	case "stream_time":
	case "wall_clock":
		when.Wall = true
	default:
		return unknown("time", f.Time)
	}
	s, err := b.in(f.Input)
	if err != nil {
		return err
	}
	onRecord := func(p *stream.Process[Key, int64, Record], v Value) {
		*p.State()++
		p.Emit(Record{p.Key(), v})
	}
	onTick := func(t *stream.Tick[Key, int64, Record]) {
		seen := int64(0)
		for k, n := range t.All() {
			seen += n
			t.Clear(k)
		}
		t.Emit(NewKey("punct"), Record{NewKey("punct"), Int(seen)})
	}
	b.stream[n.ID] = keyed(s.ProcessEvery(n.ID, onRecord, nil, when, onTick))
	return nil
}
