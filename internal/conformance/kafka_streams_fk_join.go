package conformance

// Joins of tables by a foreign key.

func kafkaForeignKeyJoin(b *build, n Node) error {
	var f struct {
		Left, Right, Kind, Joiner, Store string
		Key                              string `json:"fk_fn"`
	}
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
	key, err := keyFn(f.Key)
	if err != nil {
		return err
	}
	foreign := func(k Key, v Value) (Key, bool) {
		other := key(k, v)
		return other, !other.IsNull()
	}
	b.operators = append(b.operators, f.Store)
	switch f.Kind {
	case "inner":
		b.table[n.ID] = l.JoinForeign(f.Store, r, foreign, func(l, r Value) Value { return join(&l, &r) }, values)
	case "left":
		b.table[n.ID] = l.LeftJoinForeign(f.Store, r, foreign, func(l Value, r *Value) Value { return join(&l, r) }, values)
	default:
		return unknown("kind of join", f.Kind)
	}
	return nil
}
