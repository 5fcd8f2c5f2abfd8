package stream

import (
	"fmt"
	"time"

	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/plan"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/stream/codec"
)

// Suppression is how long changes are held back, and how many.
type Suppression struct {
	// Limit is for how long, in event time, the changes of a row become one: from the first until the watermark has
	// moved on by so much.
	Limit time.Duration
	// MaxRows is how many rows may wait in a task, so that memory and state stay bounded: beyond it, those that have
	// waited longest are emitted early. Zero: any number.
	MaxRows int
}

func (s Suppression) String() string {
	if s.MaxRows == 0 {
		return "limit " + s.Limit.String()
	}
	return fmt.Sprintf("limit %v, %d rows", s.Limit, s.MaxRows)
}

// Suppress holds the table's changes back, so that a row that changes often makes few of them: a change waits, in a store
// of this name, until the watermark is Limit past its time, and takes further ones of its row with it. Then it is
// emitted, with the row as it was emitted last and as it is now, and the time of the newest. Changes come in the order of
// (time of the first, key). A row that came and went in between makes none.
//
// The result is a table of the rows as they were emitted last.
// S is found by the compiler.
func (s Table[K, A]) Suppress[S ~string](name S, by Suppression, vals ...codec.Codec[A]) Table[K, A] {
	store := string(name)
	s.old()
	if len(vals) == 0 && s.vals != nil {
		vals = []codec.Codec[A]{s.vals}
	}
	n := s.t.graph.Add(&plan.Node{Kind: "suppress", Name: store, Site: site(), Detail: by.String(), Type: typeName[K]() + " → " + typeName[A](), Keyed: true,
		Inputs: []*plan.Node{s.node.n}, Holds: true, Delay: by.Limit.Milliseconds()})
	value := defaultCodec(s.t, n, vals)
	n.Store = &plan.Store{Name: store, Kind: "suppress", Key: s.keys.Name(), Value: value.Name(), Evolves: true}
	switch {
	case by.Limit < 0 || by.Limit%time.Millisecond != 0:
		s.t.graph.Errorf(n, "its Limit is %v: use 0 or more, in whole milliseconds", by.Limit)
	case by.MaxRows < 0:
		s.t.graph.Errorf(n, "MaxRows is %d: use 1 or more, or 0 for any number", by.MaxRows)
	}
	out := Table[K, A]{t: s.t, node: &keyedNode[K, operator.Change[A]]{n: n}, keys: s.keys, vals: value, old: func() {}}
	out.rows = func(b *compiler) operator.Lookup[K, A] { return rowsOf[*operator.Suppress[K, A], K, A](b, n) }
	limit := by.Limit.Milliseconds()
	s.sub(func(b *compiler) task.KeyedFn[K, operator.Change[A]] {
		return once(b, n, func() *operator.Suppress[K, A] {
			return operator.NewSuppress(b.task, b.suppressClock(n), operator.SuppressSpec[K, A]{Op: b.op(n), Store: store, Keys: s.keys, Vals: value,
				When: func(_ K, _ *A, at, before int64, first bool) int64 {
					if first {
						return at + limit
					}
					return before
				},
				Most: by.MaxRows, Rows: s.rows(b), Empty: b.semantics.kafka, Changes: out.changes(b)})
		}).Process
	})
	return out
}

// suppressClock is nil where operators have a stream time of their own.
func (b *compiler) suppressClock(n *plan.Node) *task.Clock {
	if b.semantics.kafka {
		return nil
	}
	return b.clock(n)
}

// SuppressUntil holds the records of a stream of updates back: of each key the newest, in a store of this name, until the
// watermark reaches the time that until names for it. So a key is emitted once for each such time, with its last value,
// if until names when it is final: the end of a window and its grace period, say, where OnClose cannot be used because
// the updates come from elsewhere. The first most keys are emitted early when more wait in a task; 0: never.
//
// Results come in the order of (until, key), without headers. Their time is 1 ms before until, or their own if that is
// later, so that they are not late for what follows. A record whose time has passed already is emitted at once.
// S is found by the compiler.
func (s Keyed[K, V]) SuppressUntil[S ~string](name S, until func(K, V) time.Time, most int, vals ...codec.Codec[V]) Keyed[K, V] {
	store := string(name)
	if len(vals) == 0 && s.vals != nil {
		vals = []codec.Codec[V]{s.vals}
	}
	s = s.partitioned(store)
	n := s.add("suppressuntil", store, "", typeName[K]()+" → "+typeName[V]())
	n.Keyed, n.Holds = true, true
	value := defaultCodec(s.t, n, vals)
	n.Store = &plan.Store{Name: store, Kind: "suppress", Key: s.keys.Name(), Value: value.Name(), Evolves: true}
	s.t.function(n, until == nil)
	if most < 0 {
		s.t.graph.Errorf(n, "it is to hold %d keys: use 1 or more, or 0 for any number", most)
	} else if most > 0 {
		n.Detail = fmt.Sprintf("%d keys", most)
	}
	out := Keyed[K, V]{t: s.t, node: &keyedNode[K, V]{n: n}, keys: s.keys, vals: value}
	s.sub(func(b *compiler) task.KeyedFn[K, V] {
		shown := func(due, at int64) int64 { return max(due-1, at) }
		if b.semantics.kafka {
			shown = nil
		}
		next := out.node.compile(b)
		return operator.Newest(operator.NewSuppress(b.task, b.suppressClock(n), operator.SuppressSpec[K, V]{Op: b.op(n), Store: store, Keys: s.keys, Vals: value,
			When: func(k K, v *V, _, before int64, first bool) int64 {
				if v == nil {
					return before
				}
				return until(k, *v).UnixMilli()
			},
			Shown: shown, Most: most,
			Changes: func(c *task.Ctx, k K, ch operator.Change[V]) { next(c, k, *ch.New) }}))
	})
	return out
}
