package operator

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// A join of tables by a foreign key, as in KIP-213: a row of the left table names one of the right table. The two lie in
// different tasks, so they write to each other.
//
// The left task (Link) tells the right one which row is meant (a Subscription, sent by the foreign key), and takes back
// what it said when the left row names another one. The right task (Subscriptions) keeps who means which row; it answers
// each subscription with the row, and does so again to all when the row changes (an Answer, sent by the left key). The
// left task makes the result of its row and the answer.
//
// On the way the left row may change. So each of its changes has a number, which the answer repeats, and one that
// answers an earlier question is dropped: the answer to the newest is under way.

// Subscription is what the left task says: by the foreign key.
type Subscription[K comparable] struct {
	Key    K
	Number uint64
	Does   SubscriptionDoes
	// Moved: the row meant another one before, so that the answer changes the result, be it that there is none.
	Moved bool
}

// SubscriptionDoes is what a Subscription is for.
type SubscriptionDoes byte

// What a Subscription is for.
const (
	Subscribe   SubscriptionDoes = iota // remember, and answer
	Unsubscribe                         // forget
	Dissolve                            // forget, and answer without the row: the left row is gone, or names nothing
)

// Answer is what the right task answers: by the left key.
type Answer[F comparable, R any] struct {
	Foreign   F
	Number    uint64
	Row       *R
	Dissolved bool
	Moved     bool
}

// Link is the left side of the join, which keeps its results.
type Link[K, F comparable, L, R, O any] struct {
	rows rows[K, linked[O]]
	LinkSpec[K, F, L, R, O]
}

// LinkSpec is what the topology says about a Link.
type LinkSpec[K, F comparable, L, R, O any] struct {
	Op      int32
	Store   string
	Keys    codec.Codec[K]
	Vals    codec.Codec[O]
	Foreign func(K, L) (F, bool) // false: it names nothing
	Pair    func(*L, *R) (O, bool)
	// Alone: a left row has a result also without a right one.
	Alone bool
	// Repeats: a result that is not there is deleted again, where Kafka Streams does so.
	Repeats bool
	Rows    Lookup[K, L]
	Say     task.KeyedFn[F, Subscription[K]]
	Changes task.KeyedFn[K, Change[O]]
}

// linked is what is kept of a left row.
type linked[O any] struct {
	number uint64 // of its changes
	result *O
}

// NewLink adds the operator to a task.
func NewLink[K, F comparable, L, R, O any](t *task.Task, s LinkSpec[K, F, L, R, O]) *Link[K, F, L, R, O] {
	o := &Link[K, F, L, R, O]{rows: newRows(t, task.KindLink, s.Store, s.Keys, codec.Codec[linked[O]](linkCodec[O]{s.Vals})), LinkSpec: s}
	t.AddStateful(&o.rows)
	return o
}

// Left takes a change of the left table.
func (o *Link[K, F, L, R, O]) Left(c *task.Ctx, k K, ch Change[L]) {
	c.Enter(o.Op)
	if c.Stale {
		c.Skip(o.Op)
		return
	}
	var was, now F
	var had, has bool
	if ch.Old != nil {
		was, had = o.Foreign(k, *ch.Old)
	}
	if ch.New != nil {
		now, has = o.Foreign(k, *ch.New)
	}
	e, err := o.rows.store.find(o.rows.table, k, 0)
	if err != nil {
		c.Task.Fail(err)
		return
	}
	if !e.live {
		e.val = linked[O]{}
	}
	e.val.number++
	e.live, e.time = true, max(e.time, c.Time)
	e.revision++
	o.rows.table.touch(e)
	n := e.val.number
	if ch.New != nil && !has && !o.Alone {
		c.Skip(o.Op) // it names nothing, and has no result
	} else {
		c.Pass(o.Op)
	}
	switch {
	case had && !has && !o.Alone:
		o.Say(c, was, Subscription[K]{Key: k, Number: n, Does: Dissolve, Moved: true})
	case had && (!has || was != now):
		o.Say(c, was, Subscription[K]{Key: k, Number: n, Does: Unsubscribe})
	}
	c.Op = o.Op
	switch {
	case has:
		o.Say(c, now, Subscription[K]{Key: k, Number: n, Does: Subscribe, Moved: had && was != now})
	case ch.New != nil && o.Alone:
		o.result(c, k, ch.New, nil, false)
	case ch.New != nil:
		if !had {
			o.result(c, k, nil, nil, false)
		}
	case !had || o.Alone:
		o.result(c, k, nil, nil, false)
	}
}

// Answer takes an answer of the right side.
func (o *Link[K, F, L, R, O]) Answer(c *task.Ctx, k K, a Answer[F, R]) {
	c.Enter(o.Op)
	e, err := o.rows.get(k)
	if err != nil {
		c.Task.Fail(err)
		return
	}
	if e == nil || e.val.number != a.Number {
		c.Filter(o.Op)
		return // the row has changed meanwhile, and has asked again
	}
	l, _ := o.Rows(c, k)
	c.Op = o.Op
	if !a.Dissolved {
		if l == nil {
			c.Filter(o.Op)
			return
		}
		if f, ok := o.Foreign(k, *l); !ok || f != a.Foreign {
			c.Filter(o.Op)
			return
		}
	} else {
		l = nil
	}
	c.Pass(o.Op)
	o.result(c, k, l, a.Row, a.Moved)
}

// result makes the result of both rows, and keeps and emits it if it is a change.
func (o *Link[K, F, L, R, O]) result(c *task.Ctx, k K, l *L, r *R, moved bool) {
	var now *O
	if l != nil {
		if v, ok := o.Pair(l, r); ok {
			now = &v
		}
	}
	e, err := o.rows.get(k)
	if err != nil {
		c.Task.Fail(err)
	}
	if e == nil {
		return
	}
	ch := Change[O]{Old: e.val.result, New: now}
	e.val.result, e.time = now, c.Time
	if l == nil {
		o.rows.clear(e)
	} else {
		e.revision++
		o.rows.table.touch(e)
	}
	if o.Changes != nil && (ch.Old != nil || ch.New != nil || moved && o.Repeats) {
		o.Changes(c, k, ch)
	}
}

// Row is the Lookup of the results.
func (o *Link[K, F, L, R, O]) Row(c *task.Ctx, k K) (*O, int64) {
	v, t := o.rows.Row(c, k)
	if v == nil || v.result == nil {
		return nil, 0
	}
	return v.result, t
}

// Subscriptions is the right side of the join.
type Subscriptions[K, F comparable, R any] struct {
	rows[pair[F, K], uint64]
	SubscriptionsSpec[K, F, R]
	// recent are those that the store may not have yet, or may still have.
	recent map[F]map[K]bool
}

// SubscriptionsSpec is what the topology says about Subscriptions.
type SubscriptionsSpec[K, F comparable, R any] struct {
	Op      int32
	Store   string
	Keys    codec.Codec[K]
	Foreign codec.Codec[F]
	Rows    Lookup[F, R]
	Say     task.KeyedFn[K, Answer[F, R]]
}

// pair is a foreign key and the key of a row that names it.
type pair[F, K comparable] struct {
	foreign F
	key     K
}

// NewSubscriptions adds the operator to a task.
func NewSubscriptions[K, F comparable, R any](t *task.Task, s SubscriptionsSpec[K, F, R]) *Subscriptions[K, F, R] {
	keys := pairCodec[F, K]{s.Foreign, s.Keys}
	o := &Subscriptions[K, F, R]{rows: newRows(t, task.KindSubscription, s.Store, codec.Codec[pair[F, K]](keys), codec.Codec[uint64](numberCodec{})), SubscriptionsSpec: s}
	o.store.group = keys.first
	t.AddStateful(o)
	return o
}

// Process takes a subscription.
func (o *Subscriptions[K, F, R]) Process(c *task.Ctx, f F, s Subscription[K]) {
	c.Enter(o.Op)
	if err := o.note(c, pair[F, K]{f, s.Key}, s); err != nil {
		c.Task.Fail(err)
		return
	}
	c.Pass(o.Op)
	if s.Does == Unsubscribe {
		return
	}
	row, at := o.Rows(c, f)
	t := c.Time
	if row != nil {
		c.Time = max(t, at)
	}
	a := Answer[F, R]{Foreign: f, Number: s.Number, Row: row, Moved: s.Moved}
	if s.Does == Dissolve {
		a.Row, a.Dissolved = nil, true
	}
	c.Op = o.Op
	o.Say(c, s.Key, a)
	c.Time = t
}

// note remembers or forgets a subscription.
func (o *Subscriptions[K, F, R]) note(c *task.Ctx, p pair[F, K], s Subscription[K]) error {
	if s.Does != Subscribe {
		e, err := o.get(p)
		if e != nil {
			o.clear(e)
			o.fresh(p)
		}
		return err
	}
	e, err := o.store.find(o.table, p, 0)
	if err != nil {
		return err
	}
	e.val, e.live, e.time = s.Number, true, c.Time
	e.revision++
	o.table.touch(e)
	o.fresh(p)
	return nil
}

// fresh says that what the store has of a subscription is not what it is now.
func (o *Subscriptions[K, F, R]) fresh(p pair[F, K]) {
	if o.recent[p.foreign] == nil {
		o.recent[p.foreign] = map[K]bool{}
	}
	o.recent[p.foreign][p.key] = true
}

// Right takes a change of the right table: it is told to all rows that name it, in the order of their keys.
func (o *Subscriptions[K, F, R]) Right(c *task.Ctx, f F, ch Change[R]) {
	c.Enter(o.Op)
	if c.Stale {
		c.Skip(o.Op)
		return
	}
	c.Pass(o.Op)
	if ch.New == nil && plant.Is("foreign") {
		return // planted: rows keep the one that was deleted
	}
	all, err := o.of(f)
	if err != nil {
		c.Task.Fail(err)
		return
	}
	for _, s := range all {
		o.Say(c, s.key, Answer[F, R]{Foreign: f, Number: s.number, Row: ch.New, Moved: true})
		c.Op = o.Op
	}
}

type subscriber[K comparable] struct {
	bytes  []byte
	key    K
	number uint64
}

// of lists who names a row: what the store has, as far as it has not changed since, and what it does not have yet.
func (o *Subscriptions[K, F, R]) of(f F) (list []subscriber[K], err error) {
	foreign, err := o.Foreign.Append(nil, f)
	if err != nil {
		return nil, &task.StateError{Store: o.store.name, Doing: "encode key", Err: err}
	}
	lo := task.AppendPrefix(nil, task.KindSubscription, o.store.id, task.Group(foreign, o.store.groups))
	lo = append(binary.AppendUvarint(lo, uint64(len(foreign))), foreign...)
	recent := o.recent[f]
	add := func(bytes []byte, k K, number uint64) {
		list = append(list, subscriber[K]{slices.Clone(bytes), k, number})
	}
	err = o.store.task.View.Scan(lo, after(slices.Clone(lo)), func(key, value []byte) error {
		k, err := o.Keys.Decode(key[len(lo):])
		if err != nil {
			return &task.StateError{Store: o.store.name, Doing: "decode key", Err: err}
		}
		if recent[k] {
			return nil
		}
		var e entry[pair[F, K], uint64]
		if err := o.store.decodeValue(value, &e); err != nil {
			return err
		}
		add(key[len(lo):], k, e.val)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for k := range recent {
		e := o.table.lookup(pair[F, K]{f, k})
		if e == nil || !e.live {
			continue
		}
		b, err := o.Keys.Append(nil, k)
		if err != nil {
			return nil, &task.StateError{Store: o.store.name, Doing: "encode key", Err: err}
		}
		add(b, k, e.val)
	}
	slices.SortFunc(list, func(a, b subscriber[K]) int { return bytes.Compare(a.bytes, b.bytes) })
	return list, nil
}

// Restore implements task.Stateful.
func (o *Subscriptions[K, F, R]) Restore(m *task.Marker) error {
	o.recent = map[F]map[K]bool{}
	return o.rows.Restore(m)
}

// Applied implements task.Stateful.
func (o *Subscriptions[K, F, R]) Applied(epoch uint64) {
	for f, keys := range o.recent {
		for k := range keys {
			if e := o.table.lookup(pair[F, K]{f, k}); e == nil || !e.changed && e.epoch <= epoch {
				delete(keys, k)
			}
		}
		if len(keys) == 0 {
			delete(o.recent, f)
		}
	}
	o.rows.Applied(epoch)
}

// Held implements task.Stateful.
func (o *Subscriptions[K, F, R]) Held() int { return o.rows.Held() + 64*len(o.recent) }
