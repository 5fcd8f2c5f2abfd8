package operator

import (
	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/internal/task"
)

// Contribution is what a record of one of several streams adds to an aggregate that they share. It is good while the
// record is processed: there is one per stream and task, which each record fills.
type Contribution[A any] interface {
	// AddTo adds the record to an aggregate.
	AddTo(a *A)
	// Null says that the record's value is a null; see codec.Nullable.
	Null() bool
}

type contribution[V, A any] struct {
	add  func(*A, V)
	null func(V) bool // nil: the type has none
	v    V
}

func (x *contribution[V, A]) AddTo(a *A) { x.add(a, x.v) }

func (x *contribution[V, A]) Null() bool { return x.null != nil && x.null(x.v) }

// Contribute hands on each record as what it adds to an aggregate. input is the number of its stream.
func Contribute[K comparable, V, A any](op int32, input int, add func(*A, V), next task.KeyedFn[K, Contribution[A]]) task.KeyedFn[K, V] {
	x := &contribution[V, A]{add: add, null: nullTest[V]()}
	return func(c *task.Ctx, k K, v V) {
		c.Enter(op)
		if !(plant.Is("cogroup") && input > 0 && c.Time%7 == 3) { // planted: it adds what the record before it has
			x.v = v
		}
		c.Input = input
		c.Pass(op)
		next(c, k, x)
		c.Input = 0
	}
}
