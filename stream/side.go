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
	at   int // its place among the side outputs of that
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
		s.of, s.at, s.node = of, len(t.sides[of]), out.node
		if of.Kind != "process" {
			t.graph.Errorf(out.node.n, "it is to be of a %s, which has no side outputs: name what a Process has returned", of.Kind)
		}
		t.sides[of] = append(t.sides[of], func(b *compiler) any {
			return operator.Map(b.op(s.node.n), func(v T) T { return v }, s.node.compile(b))
		})
	case s.of != of:
		t.graph.Errorf(s.node.n, "it is a side output of two operators, %s %q and %s %q: use one for each", s.of.Kind, s.of.Name, of.Kind, of.Name)
		out.node = &node[T]{n: s.node.n}
	}
	return out
}

// side makes the task.Fn of a side output, of whatever type.
type side func(*compiler) any

// sides are those of an operator in a task.
type sides struct {
	of  *plan.Node
	fns []any // task.Fn of each Side, by its place
}

func (b *compiler) sides(of *plan.Node, all []side) sides {
	s := sides{of: of}
	for _, make := range all {
		s.fns = append(s.fns, make(b))
	}
	return s
}

// EmitTo emits a value to a side output, with the time and key of the record or timer.
func (p *Process[K, A, R]) EmitTo[T any](s *Side[T], v T) {
	_, c := p.p.At()
	if s.of == nil || s.of != p.sides.of {
		c.Task.Fail(fmt.Errorf("process: a value of type %s was emitted to a side output that is none of it: call Side.Of with its results before Build", typeName[T]()))
		return
	}
	op := c.Op
	p.sides.fns[s.at].(task.Fn[T])(c, v)
	c.Op = op
}
