package stream

import (
	"fmt"

	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/plan"
	"github.com/millstream-go/millstream/internal/task"
)

// Side is a further output of a Process, ProcessWith or ProcessEvery, of a type of its own. What is emitted to it, for a
// record or from a timer, becomes a stream beside that of the results, in the same commit:
//
//	var alerts stream.Side[Alert]
//	sums := payments.Process("sums", func(p *stream.Process[string, int64, Sum], v Payment) {
//		...
//		p.EmitTo(&alerts, Alert{...})
//	}, nil)
//	alerts.Of(sums).To(...)
//
// The zero Side is ready for use. It belongs to the process that Of names, and must not be copied.
type Side[T any] struct {
	of   *plan.Node
	node *node[T]
}

// Of makes a stream of what is emitted to the side output. results are what the process has returned. Without it, a process
// that emits to the side output stops the application.
func (s *Side[T]) Of[R any](results Stream[R]) Stream[T] {
	t, of := results.t, results.node.n
	out := Stream[T]{t: t, node: s.node}
	switch {
	case s.node == nil:
		out.node = &node[T]{n: t.graph.Add(&plan.Node{Kind: "side", Name: "side", Site: site(), Type: typeName[T](), Inputs: []*plan.Node{of}})}
		s.of, s.node = of, out.node
		if of.Kind != "process" {
			t.graph.Errorf(out.node.n, "it is to be of a %s, which has no side outputs: name what a Process has returned", of.Kind)
		}
		t.sides[of] = append(t.sides[of], side{s, func(b *compiler) any {
			return operator.Map(b.op(s.node.n), func(v T) T { return v }, s.node.compile(b))
		}})
	case s.of != of:
		t.graph.Errorf(s.node.n, "it is a side output of two operators, %s %q and %s %q: use one for each", s.of.Kind, s.of.Name, of.Kind, of.Name)
		out.node = &node[T]{n: s.node.n}
	}
	return out
}

// side is a side output of an operator: the Side, and what compiles to its task.Fn.
type side struct {
	of      any
	compile func(*compiler) any
}

// sides makes the side outputs of an operator in a task.
func (b *compiler) sides(all []side) map[any]any {
	made := map[any]any{}
	for _, s := range all {
		made[s.of] = s.compile(b)
	}
	return made
}

// EmitTo emits a value to a side output, with the time and key of the record or timer.
func (p *Process[K, A, R]) EmitTo[T any](s *Side[T], v T) {
	_, c := p.p.At()
	next, ok := p.sides[s].(task.Fn[T])
	if !ok {
		c.Task.Fail(fmt.Errorf("process: a value of type %s was emitted to a side output that is none of it: call Side.Of with its results before Build", typeName[T]()))
		return
	}
	op := c.Op
	next(c, v)
	c.Op = op
}
