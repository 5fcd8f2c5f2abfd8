package stream

import (
	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/plan"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// JoinForeign joins each row of this table with the row of another one that it names: foreign takes that row's key from
// it, or says that it names none. Many rows may name the same one. The result has a row for each of this table whose
// named row exists; it changes with either, also when the row comes to name another one (KIP-213).
//
// The tables need no equal keys or numbers of partitions: their tasks write to each other, through the repartitions
// name-subscribe and name-answer. What a row was joined with is kept in a store of this name, who names which row in
// name-subscriptions. The results of a change follow it, in the end the right ones, at another moment for each row.
func (s Table[K, A]) JoinForeign[F comparable, B, O any](name string, right Table[F, B], foreign func(K, A) (F, bool), f func(A, B) O, state ...codec.Codec[O]) Table[K, O] {
	return joinForeign(s, right, "joinforeign", name, false, foreign, f == nil, func(a *A, b *B) (o O, ok bool) {
		if b == nil {
			return o, false
		}
		return f(*a, *b), true
	}, state)
}

// LeftJoinForeign is JoinForeign with a row for each row of this table; nil stands for a named row that does not exist,
// and for none that is named.
func (s Table[K, A]) LeftJoinForeign[F comparable, B, O any](name string, right Table[F, B], foreign func(K, A) (F, bool), f func(A, *B) O, state ...codec.Codec[O]) Table[K, O] {
	return joinForeign(s, right, "leftjoinforeign", name, true, foreign, f == nil, func(a *A, b *B) (O, bool) { return f(*a, copyOf(b)), true }, state)
}

func joinForeign[K, F comparable, A, B, O any](left Table[K, A], right Table[F, B], kind plan.Kind, name string, alone bool, foreign func(K, A) (F, bool), missing bool,
	join func(*A, *B) (O, bool), state []codec.Codec[O]) Table[K, O] {
	t := left.t
	left.old()
	// The left rows ask.
	ask := &keyedNode[F, operator.Subscription[K]]{n: t.graph.Add(&plan.Node{Kind: "foreignkey", Name: "foreignkey", Site: site(), Type: typeName[F]() + " → " + typeName[K](),
		Keyed: true, Inputs: []*plan.Node{left.node.n}})}
	t.function(ask.n, foreign == nil)
	asked, _ := exchanged(t, ask, right.keys, name+"-subscribe", Repartitioning{}, "store "+name, []codec.Codec[operator.Subscription[K]]{operator.SubscriptionCodec(left.keys)})
	// The right rows know who has asked, and answer.
	subscriptions := name + "-subscriptions"
	answer := &keyedNode[K, operator.Answer[F, B]]{n: t.graph.Add(&plan.Node{Kind: "subscriptions", Name: subscriptions, Site: site(), Type: typeName[K]() + " → " + typeName[B](),
		Keyed: true, Aligned: true, Inputs: []*plan.Node{asked.n}})}
	if right.t == t {
		answer.n.Inputs = append(answer.n.Inputs, right.node.n)
	} else {
		t.graph.Errorf(answer.n, "its other side is of another topology")
	}
	answer.n.Store = &plan.Store{Name: subscriptions, Kind: "subscriptions", Key: right.keys.Name() + ", " + left.keys.Name(), Value: "number"}
	rights := valueCodec(t, answer.n, right.vals)
	answered, _ := exchanged(t, answer, left.keys, name+"-answer", Repartitioning{}, "store "+name, []codec.Codec[operator.Answer[F, B]]{operator.AnswerCodec(right.keys, rights)})
	// The left rows keep what becomes of both.
	n := t.graph.Add(&plan.Node{Kind: kind, Name: name, Site: site(), Type: typeName[K]() + " → " + typeName[O](), Keyed: true, Aligned: true,
		Inputs: []*plan.Node{left.node.n, answered.n}})
	t.function(n, missing)
	vals := defaultCodec(t, n, state)
	out, _ := stored(t, n, "foreignjoin", left.keys, vals)
	out.old = func() {} // old rows are there
	type link = operator.Link[K, F, A, B, O]
	made := func(b *compiler) *link {
		return once(b, n, func() *link {
			return operator.NewLink(b.task, operator.LinkSpec[K, F, A, B, O]{Op: b.op(n), Store: name, Keys: left.keys, Vals: vals, Foreign: foreign, Pair: join, Alone: alone,
				Repeats: b.semantics.kafka, Rows: left.rows(b), Say: ask.compile(b), Changes: out.changes(b)})
		})
	}
	out.rows = func(b *compiler) operator.Lookup[K, O] { return rowsOf[*link, K, O](b, n) }
	left.sub(func(b *compiler) task.KeyedFn[K, operator.Change[A]] { return made(b).Left })
	answered.subs = append(answered.subs, func(b *compiler) task.KeyedFn[K, operator.Answer[F, B]] { return made(b).Answer })
	side := func(b *compiler) *operator.Subscriptions[K, F, B] {
		return once(b, answer.n, func() *operator.Subscriptions[K, F, B] {
			return operator.NewSubscriptions(b.task, operator.SubscriptionsSpec[K, F, B]{Op: b.op(answer.n), Store: subscriptions, Keys: left.keys, Foreign: right.keys,
				Rows: right.rows(b), Say: answer.compile(b)})
		})
	}
	asked.subs = append(asked.subs, func(b *compiler) task.KeyedFn[F, operator.Subscription[K]] { return side(b).Process })
	right.sub(func(b *compiler) task.KeyedFn[F, operator.Change[B]] { return side(b).Right })
	return out
}
