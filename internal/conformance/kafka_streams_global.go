package conformance

import (
	"fmt"
	"slices"

	"github.com/millstream-go/millstream/stream"
)

// Tables that every task has.

func kafkaGlobalTable(b *build, n Node) error {
	var f struct{ Topic, Store string }
	if err := n.Into(&f); err != nil {
		return err
	}
	if b.global == nil {
		b.global = map[string]stream.GlobalTable[Key, Value]{}
	}
	b.global[n.ID] = b.t.GlobalTable(kafkaGlobalSource(f.Topic))
	return nil
}

func kafkaGlobalJoin(b *build, n Node) error {
	var f struct {
		Left, Right, Kind, Joiner, Store string
		Key                              string `json:"key_fn"`
	}
	if err := n.Into(&f); err != nil {
		return err
	}
	l, err := b.in(f.Left)
	if err != nil {
		return err
	}
	t, ok := b.global[f.Right]
	if !ok {
		return fmt.Errorf("there is no global table %q before it", f.Right)
	}
	join, err := joiner(f.Joiner)
	if err != nil {
		return err
	}
	of, err := keyFn(f.Key)
	if err != nil {
		return err
	}
	key := func(k Key, v Value) (Key, bool) {
		x := of(k, v)
		return x, !x.IsNull()
	}
	operator := "joinglobal"
	if f.Kind == "left" {
		operator = "leftjoinglobal"
	}
	if !slices.Contains(b.operators, operator) { // counts are those of all operators of the name
		b.operators = append(b.operators, operator)
	}
	switch f.Kind {
	case "inner":
		b.stream[n.ID] = l.JoinGlobal(t, key, func(l, r Value) Value { return join(&l, &r) })
	case "left":
		b.stream[n.ID] = l.LeftJoinGlobal(t, key, func(l Value, r *Value) Value { return join(&l, r) })
	default:
		return unknown("kind of join", f.Kind)
	}
	return nil
}
