package conformance

import (
	"fmt"

	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
)

// Kafka Streams' tables.

// kafkaSemantics is the profile of a case.
func kafkaSemantics(c *Case) stream.Semantics {
	s := stream.KafkaStreamsSemantics
	s.EmitInterval = ms(c.Topology.Config.EmitIntervalMS)
	return s
}

func kafkaTable(b *build, n Node) error {
	var f struct {
		Topic, Store string
		Versioned    bool
		HistoryMS    int64 `json:"history_retention_ms"`
	}
	if err := n.Into(&f); err != nil {
		return err
	}
	b.operators = append(b.operators, f.Store)
	src := b.source(f.Topic)
	if !f.Versioned {
		b.table[n.ID] = b.t.Table(src, f.Store)
		return nil
	}
	b.versions[n.ID] = b.t.VersionedTable(src, f.Store, ms(f.HistoryMS))
	return nil
}

func kafkaToTable(b *build, n Node) error {
	var f struct{ Input, Store string }
	if err := n.Into(&f); err != nil {
		return err
	}
	s, err := b.in(f.Input)
	if err != nil {
		return err
	}
	b.operators = append(b.operators, f.Store)
	b.table[n.ID] = s.ToTable(f.Store, values)
	return nil
}

func kafkaTableAggregate(b *build, n Node) error {
	var f struct {
		Input, Fn, Store, Adder, Subtractor string
		GroupFn                             string `json:"group_fn"`
	}
	if err := n.Into(&f); err != nil {
		return err
	}
	t, err := b.rows(f.Input)
	if err != nil {
		return err
	}
	group, err := keyFn(f.GroupFn)
	if err != nil {
		return err
	}
	agg, err := aggregation(f.Fn)
	if err != nil {
		return err
	}
	if f.Adder != "" {
		if agg.add, err = reducer(f.Adder); err != nil {
			return err
		}
	}
	if f.Subtractor != "" {
		if agg.subtract, err = reducer(f.Subtractor); err != nil {
			return err
		}
	}
	if agg.subtract == nil {
		return fmt.Errorf("function %q cannot subtract", f.Fn)
	}
	b.operators = append(b.operators, f.Store)
	add := func(a *Value, v Value) {
		if agg.reduce && a.IsNull() {
			*a = v
			return
		}
		*a = agg.add(*a, v)
	}
	b.table[n.ID] = t.GroupBy(group).Fold(f.Store, add, func(a *Value, v Value) { *a = agg.subtract(*a, v) }, values)
	return nil
}

// kafkaGlobalSource describes the source of a table that every task has.
func kafkaGlobalSource(topic string) source.KeyedSource[Key, Value] {
	return source.KafkaKeyed(topic, keys, values, source.MaxAhead(-1), source.OnNullKey(onerror.Skip))
}
