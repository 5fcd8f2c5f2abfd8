package conformance

import (
	"errors"
	"slices"

	"github.com/millstream-go/millstream/window"
)

// Kafka Streams' joins of streams and tables.

func kafkaStreamJoin(b *build, n Node) error {
	var f struct {
		Left, Right, Kind, Joiner, Store string
		BeforeMS                         int64 `json:"before_ms"`
		AfterMS                          int64 `json:"after_ms"`
		GraceMS                          int64 `json:"grace_ms"`
	}
	if err := n.Into(&f); err != nil {
		return err
	}
	l, err := b.in(f.Left)
	if err != nil {
		return err
	}
	r, err := b.in(f.Right)
	if err != nil {
		return err
	}
	join, err := joiner(f.Joiner)
	if err != nil {
		return err
	}
	w := window.Join{Before: ms(f.BeforeMS), After: ms(f.AfterMS), Grace: ms(f.GraceMS)}
	b.operators = append(b.operators, n.ID)
	switch f.Kind {
	case "inner":
		b.stream[n.ID] = l.Join(n.ID, r, w, func(l, r Value) Value { return join(&l, &r) }).Keyed
	case "left":
		b.stream[n.ID] = l.LeftJoin(n.ID, r, w, func(l Value, r *Value) Value { return join(&l, r) }).Keyed
	case "outer":
		b.stream[n.ID] = l.OuterJoin(n.ID, r, w, join).Keyed
	default:
		return unknown("kind of join", f.Kind)
	}
	return nil
}

func kafkaStreamTableJoin(b *build, n Node) error {
	var f struct {
		Left, Right, Kind, Joiner, Store string
		GraceMS                          *int64 `json:"grace_ms"`
	}
	if err := n.Into(&f); err != nil {
		return err
	}
	l, err := b.in(f.Left)
	if err != nil {
		return err
	}
	join, err := joiner(f.Joiner)
	if err != nil {
		return err
	}
	if f.Kind != "inner" && f.Kind != "left" {
		return unknown("kind of join", f.Kind)
	}
	inner := func(l, r Value) Value { return join(&l, &r) }
	left := func(l Value, r *Value) Value { return join(&l, r) }
	b.operators = append(b.operators, n.ID)
	if v, ok := b.versions[f.Right]; ok {
		grace := int64(0)
		if f.GraceMS != nil {
			grace = *f.GraceMS
		}
		if f.Kind == "inner" {
			b.stream[n.ID] = l.JoinAsOf(n.ID, v, inner).Grace(ms(grace)).Keyed
		} else {
			b.stream[n.ID] = l.LeftJoinAsOf(n.ID, v, left).Grace(ms(grace)).Keyed
		}
		return nil
	}
	if f.GraceMS != nil {
		return errors.New("a grace period needs a table with versions")
	}
	t, err := b.rows(f.Right)
	if err != nil {
		return err
	}
	if f.Kind == "inner" {
		b.stream[n.ID] = l.JoinTable(n.ID, t, inner)
	} else {
		b.stream[n.ID] = l.LeftJoinTable(n.ID, t, left)
	}
	return nil
}

func kafkaTableJoin(b *build, n Node) error {
	var f struct{ Left, Right, Kind, Joiner, Store string }
	if err := n.Into(&f); err != nil {
		return err
	}
	l, err := b.rows(f.Left)
	if err != nil {
		return err
	}
	r, err := b.rows(f.Right)
	if err != nil {
		return err
	}
	join, err := joiner(f.Joiner)
	if err != nil {
		return err
	}
	name := map[string]string{"inner": "join", "left": "leftjoin", "outer": "outerjoin"}[f.Kind] // it has no store
	if name != "" && !slices.Contains(b.operators, name) {
		b.operators = append(b.operators, name)
	}
	switch f.Kind {
	case "inner":
		b.table[n.ID] = l.Join(r, func(l, r Value) Value { return join(&l, &r) })
	case "left":
		b.table[n.ID] = l.LeftJoin(r, func(l Value, r *Value) Value { return join(&l, r) })
	case "outer":
		b.table[n.ID] = l.OuterJoin(r, join)
	default:
		return unknown("kind of join", f.Kind)
	}
	return nil
}
