package conformance

import (
	"fmt"
	"iter"
	"slices"
)

// Kafka Streams' operators without state.

func kafkaSource(b *build, n Node) error {
	var f struct{ Topic string }
	if err := n.Into(&f); err != nil {
		return err
	}
	b.stream[n.ID] = b.t.FromKeyed(b.source(f.Topic))
	return nil
}

func kafkaSink(b *build, n Node) error {
	var f struct{ Input, Topic string }
	if err := n.Into(&f); err != nil {
		return err
	}
	s, err := b.in(f.Input)
	if err != nil {
		return err
	}
	b.to(f.Topic, s)
	return nil
}

func kafkaFilter(b *build, n Node) error {
	var f struct{ Input, Fn, Store string }
	if err := n.Into(&f); err != nil {
		return err
	}
	p, err := predicate(f.Fn)
	if err != nil {
		return err
	}
	keep := p
	if n.Op == "filter_not" {
		keep = func(k Key, v Value) bool { return !p(k, v) }
	}
	if t, err := b.rows(f.Input); err == nil {
		b.table[n.ID] = t.Filter(keep)
		return nil
	}
	s, err := b.in(f.Input)
	if err == nil {
		b.stream[n.ID] = s.Filter(keep)
	}
	return err
}

func kafkaMapValues(b *build, n Node) error {
	var f struct{ Input, Fn, Store string }
	if err := n.Into(&f); err != nil {
		return err
	}
	fn, err := valueFn(f.Fn)
	if err != nil {
		return err
	}
	g := func(_ Key, v Value) Value { return fn(v) }
	if t, err := b.rows(f.Input); err == nil {
		b.table[n.ID] = t.MapValues(g)
		return nil
	}
	s, err := b.in(f.Input)
	if err == nil {
		b.stream[n.ID] = s.MapValues(g)
	}
	return err
}

func kafkaMap(b *build, n Node) error {
	var f struct {
		Input string
		KeyFn string `json:"key_fn"`
		Fn    string
	}
	if err := n.Into(&f); err != nil {
		return err
	}
	key, err := keyFn(f.KeyFn)
	if err != nil {
		return err
	}
	fn, err := valueFn(f.Fn)
	if err != nil {
		return err
	}
	s, err := b.in(f.Input)
	if err == nil {
		b.stream[n.ID] = keyed(records(s).Map(func(r Record) Record { return Record{key(r.Key, r.Value), fn(r.Value)} }))
	}
	return err
}

// kafkaStateless is an operator of one stream and one function.
func kafkaStateless[F any](b *build, n Node, parse func(string) (F, error), apply func(Stream, F) Stream) error {
	var f struct{ Input, Fn, Store string }
	if err := n.Into(&f); err != nil {
		return err
	}
	fn, err := parse(f.Fn)
	if err != nil {
		return err
	}
	s, err := b.in(f.Input)
	if err == nil {
		b.stream[n.ID] = apply(s, fn)
	}
	return err
}

func kafkaSelectKey(b *build, n Node) error {
	return kafkaStateless(b, n, keyFn, func(s Stream, key func(Key, Value) Key) Stream {
		return keyed(records(s).Map(func(r Record) Record { return Record{key(r.Key, r.Value), r.Value} }))
	})
}

func kafkaFlatMap(b *build, n Node) error {
	return kafkaStateless(b, n, several, func(s Stream, fn func(Key, Value) []Record) Stream {
		return keyed(records(s).FlatMap(func(r Record) iter.Seq[Record] { return slices.Values(fn(r.Key, r.Value)) }))
	})
}

func kafkaFlatMapValues(b *build, n Node) error {
	return kafkaStateless(b, n, several, func(s Stream, fn func(Key, Value) []Record) Stream {
		return s.FlatMapValues(func(k Key, v Value) iter.Seq[Value] {
			return func(yield func(Value) bool) {
				for _, r := range fn(k, v) {
					if !yield(r.Value) {
						return
					}
				}
			}
		})
	})
}

func kafkaMerge(b *build, n Node) error {
	var f struct{ Inputs []string }
	if err := n.Into(&f); err != nil {
		return err
	}
	var all []Stream
	for _, id := range f.Inputs {
		s, err := b.in(id)
		if err != nil {
			return err
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		return fmt.Errorf("it has no inputs")
	}
	b.stream[n.ID] = all[0].Merge(all[1:]...)
	return nil
}

func kafkaBranch(b *build, n Node) error {
	var f struct {
		Input      string
		Predicates []string
	}
	if err := n.Into(&f); err != nil {
		return err
	}
	var when []func(Record) bool
	for _, spec := range f.Predicates {
		p, err := predicate(spec)
		if err != nil {
			return err
		}
		when = append(when, func(r Record) bool { return p(r.Key, r.Value) })
	}
	s, err := b.in(f.Input)
	if err != nil {
		return err
	}
	for i, branch := range records(s).Split(when...) {
		id := fmt.Sprintf("%s.%d", n.ID, i)
		if i == len(when) {
			id = n.ID + ".default"
		}
		b.stream[id] = keyed(branch)
	}
	return nil
}
