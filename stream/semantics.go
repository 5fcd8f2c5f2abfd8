package stream

import (
	"errors"
	"time"

	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/window"
)

// Semantics is by which rules operators with state and time work. The zero value has the rules of this package, as the
// operators describe them. It is part of what the state means: choose it before the first run.
type Semantics struct {
	kafka bool
	// EmitInterval is the shortest wall-clock time between two looks for windows to be closed, and for records of a join
	// that found no match. It is a rule of KafkaStreamsSemantics only, where its default is a second; 0 looks with every
	// record.
	EmitInterval time.Duration
}

// KafkaStreamsSemantics are the rules of Kafka Streams 4, for applications that come from there and whose results must
// stay the same. There are no watermarks: each operator has a stream time of its own, the largest time among its
// records, and acts only when a record comes. docs/semantics.md lists what is different from the default. Kafka Streams'
// defects are not copied: nothing is lost that its rules say is to be emitted.
//
// Nulls, on which many of those rules hang, exist where the types of keys and values have one: see codec.Nullable.
var KafkaStreamsSemantics = Semantics{kafka: true, EmitInterval: time.Second}

func (s Semantics) check() error {
	switch {
	case s.EmitInterval < 0 || s.EmitInterval%time.Millisecond != 0:
		return errors.New("Config.Semantics: the EmitInterval must be whole milliseconds, and not negative")
	case !s.kafka && s.EmitInterval != 0:
		return errors.New("Config.Semantics: the EmitInterval is a rule of KafkaStreamsSemantics: leave it out, or begin with those")
	}
	return nil
}

// wantsNulls says that what comes next has a use for records without a key, if it has: a repartition then lets them
// pass.
func (s Keyed[K, V]) wantsNulls(so bool) {
	if in := s.node.n.Input; so && in != nil {
		in.Nulls = true
	}
}

// streamTime is what operators need to know that go by stream time.
func (b *compiler) streamTime() operator.StreamTime {
	return operator.StreamTime{EmitEvery: b.semantics.EmitInterval.Milliseconds()}
}

// streamWindow returns what makes the operator of a window by stream time that depends on the records of each key; the
// given one, where the kind of window is unknown to Kafka Streams.
func streamWindow[K comparable, V, A any](b *compiler, w window.Window, merge func(*A, A), other windowOperator[K, V, A]) windowOperator[K, V, A] {
	switch w := w.(type) {
	case window.Session:
		gap, retention := w.Gap.Milliseconds(), w.Retention.Milliseconds()
		if retention == 0 {
			retention = gap + w.Grace.Milliseconds()
		}
		return func(t *task.Task, _ *task.Clock, in *operator.Held[K, V], s operator.KeyWindowSpec[K, A]) (task.KeyedFn[K, V], operator.Taker[K]) {
			s.Grace = w.Grace.Milliseconds()
			o := operator.NewStreamSession(t, b.streamTime(), s, func() int64 { return gap }, gap, retention, merge)
			return operator.NoNulls(s.Op, true, false, in.Into(o.Process)), nil
		}
	case window.Sliding:
		return func(t *task.Task, _ *task.Clock, in *operator.Held[K, V], s operator.KeyWindowSpec[K, A]) (task.KeyedFn[K, V], operator.Taker[K]) {
			s.Grace = w.Grace.Milliseconds()
			o := operator.NewStreamSliding(t, b.streamTime(), s, w.Difference.Milliseconds())
			return operator.NoNulls(s.Op, true, true, in.Into(o.Process)), nil
		}
	}
	return other
}

// windowOperator makes the operator of a window; and what takes several records as one, if it can.
type windowOperator[K comparable, V, A any] = func(*task.Task, *task.Clock, *operator.Held[K, V], operator.KeyWindowSpec[K, A]) (task.KeyedFn[K, V], operator.Taker[K])
