package stream

import (
	"slices"

	"github.com/millstream-go/millstream/internal/plan"
)

// handsOn are the kinds of operators that hand on what they have passed, each record once.
var handsOn = []plan.Kind{plan.Source, plan.Repartition, "map", "map with id", "mapvalues", "trymap", "filter", "peek", "keyby", "event time"}

// flows tells the task which operators hand their records to which, for its ledger: those whose numbers of records must
// be equal.
func (b *compiler) flows() {
	for n, op := range b.ops {
		if n.Kind == plan.Repartition && b.semantics.kafka { // there null keys stay behind
			continue
		}
		if from, ok := b.senders(n); ok && len(from) > 0 {
			b.task.Flow(op, from)
		}
	}
}

// senders are the operators that hand records to a node; ok is false if some of them hand on more or less than they pass.
func (b *compiler) senders(n *plan.Node) (from []int32, ok bool) {
	for _, in := range n.Inputs {
		ops := b.ops
		if in.Kind == plan.Repartition {
			ops = b.readers
		}
		op, counts := ops[in]
		switch {
		case counts && slices.Contains(handsOn, in.Kind):
			from = append(from, op)
		case !counts && (in.Kind == "merge" || in.Kind == "watermark"):
			more, ok := b.senders(in)
			if !ok {
				return nil, false
			}
			from = append(from, more...)
		default:
			return nil, false
		}
	}
	return from, true
}
