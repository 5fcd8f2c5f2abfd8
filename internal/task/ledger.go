package task

import "fmt"

// The ledger: no record disappears. Each operator counts the records that come to it before it looks at them and, in
// another place, what becomes of each. The two are equal whenever no record is under way, so at every cut:
//
//	in = passed + filtered + late + skipped + dead-lettered + withdrawn + lapsed + held
//
// And what the operators without state have passed has come to those behind them (see Flow).
//
// The counts are plain fields of a task, which one goroutine has at a time. A record costs an operator two additions.
//
// An operator that hands records on books them before it does so: a panic behind it must not leave it without an entry.
// If it gives up on the record later, the entry is taken back: there is one if no record is missing.

// Counts is what has become of the records that came to an operator since the task began on this instance.
type Counts struct {
	In           uint64
	Passed       uint64 // did what the operator is for: handed on, written, taken into state
	Filtered     uint64 // left out, as the operator is to do
	Late         uint64
	Skipped      uint64 // given up on and dropped, by policy or for what they lack
	DeadLettered uint64
	Withdrawn    uint64 // taken back with the record that they came from, which was given up on elsewhere
	Lapsed       uint64 // came too late to be kept, and had nothing to do before: a join's record without a match
	Held         int64  // kept back, less those that were kept back when the task began
	Expired      uint64 // values of state handles that were removed for their age; no records
	Retried      uint64 // how often something was tried again for a record; no records
	// AlsoLate is how much of Late is no record of its own: under Kafka Streams' rules one is late in each of its windows, and
	// what comes as one aggregate of several records is late as often as there are.
	AlsoLate uint64
}

// Add adds counts.
func (n *Counts) Add(x *Counts) {
	n.In += x.In
	n.Passed += x.Passed
	n.Filtered += x.Filtered
	n.Late += x.Late
	n.Skipped += x.Skipped
	n.DeadLettered += x.DeadLettered
	n.Withdrawn += x.Withdrawn
	n.Lapsed += x.Lapsed
	n.Held += x.Held
	n.Expired += x.Expired
	n.Retried += x.Retried
	n.AlsoLate += x.AlsoLate
}

// Missing is how many records came and are not accounted for: 0, unless there is a mistake in the engine.
func (n *Counts) Missing() int64 {
	return int64(n.In+n.AlsoLate) - int64(n.Passed+n.Filtered+n.Late+n.Skipped+n.DeadLettered+n.Withdrawn+n.Lapsed) - n.Held
}

// Enter says that a record has come to the operator, which is at work from now on.
func (c *Ctx) Enter(op int32) {
	c.Op = op
	c.Task.Operators[op].In++
}

// Leave takes back that a record has come: what was done was for an operator that takes it only now.
func (c *Ctx) Leave(op int32) { c.Task.Operators[op].In-- }

// Pass books the record at hand of an operator as passed.
func (c *Ctx) Pass(op int32) { c.Task.Operators[op].Passed++ }

// Filter books it as filtered.
func (c *Ctx) Filter(op int32) { c.Task.Operators[op].Filtered++ }

// Late books it as late.
func (c *Ctx) Late(op int32) { c.Task.Operators[op].Late++ }

// AlsoLate says that a record that is booked counts n times more as late.
func (c *Ctx) AlsoLate(op int32, n uint64) {
	x := &c.Task.Operators[op].Counts
	x.Late += n
	x.AlsoLate += n
}

// Skip books it as skipped.
func (c *Ctx) Skip(op int32) { c.Task.Operators[op].Skipped++ }

// Lapse books it as lapsed.
func (c *Ctx) Lapse(op int32) { c.Task.Operators[op].Lapsed++ }

// Hold books it as held.
func (c *Ctx) Hold(op int32) { c.Task.Operators[op].Held++ }

// Release says that the operator goes on with a record that it held: it comes to it anew.
func (c *Ctx) Release(op int32) { c.Task.Operators[op].Held-- }

// unbook takes the entry of the record at hand back.
func (n *Counts) unbook() {
	switch {
	case n.Missing() > 0: // there is none
	case n.Passed > 0:
		n.Passed--
	default:
		n.In++ // a timer's: no record has come
	}
}

// Keeper is an operator that holds records. Keeps counts them, and may read the store for it.
type Keeper interface {
	Keeps() (int, error)
	// Operator is its number.
	Operator() int32
}

// Flow says that whatever the operators from pass comes to the operator into, and nothing else does.
func (t *Task) Flow(into int32, from []int32) { t.flows = append(t.flows, flow{into, from}) }

type flow struct {
	into int32
	from []int32
}

// OpenLedger counts what the operators hold when the task begins, so that Ledger can compare what they say with what there
// is. It is for tests: counting may read all that is held.
func (t *Task) OpenLedger() error {
	for _, s := range t.stateful {
		if k, ok := s.(Keeper); ok {
			n, err := k.Keeps()
			if err != nil {
				return err
			}
			t.kept[k.Operator()] = n
		}
	}
	return nil
}

// Ledger returns what is wrong with the task's books; nil if every record is accounted for. No record may be under way, and
// OpenLedger must have been called.
func (t *Task) Ledger() error {
	for i := range t.Operators {
		o := &t.Operators[i]
		if n := o.Missing(); n != 0 {
			return fmt.Errorf("task %s, operator %s (declared at %s): %d of %d records are not accounted for: %+v", t.ID(), o.Name, o.Site, n, o.In, o.Counts)
		}
	}
	for _, s := range t.stateful {
		if k, ok := s.(Keeper); ok {
			o := &t.Operators[k.Operator()]
			keeps, err := k.Keeps()
			if err != nil {
				return err
			}
			if n := int64(keeps-t.kept[k.Operator()]) - o.Held; n != 0 {
				return fmt.Errorf("task %s, operator %s (declared at %s): it holds %d records more than it says: %+v", t.ID(), o.Name, o.Site, n, o.Counts)
			}
		}
	}
	for _, p := range t.Ports {
		if in := t.Operators[p.Op].In; in != p.handed {
			return fmt.Errorf("task %s, operator %s: %d records were read for it, and %d came", t.ID(), t.Operators[p.Op].Name, p.handed, in)
		}
	}
	if t.unwound { // a panic ends what is done with a record, also in branches that it has not come to yet
		return nil
	}
	for _, f := range t.flows {
		sent := uint64(0)
		for _, op := range f.from {
			sent += t.Operators[op].Passed
		}
		if o := &t.Operators[f.into]; sent != o.In {
			return fmt.Errorf("task %s, operator %s (declared at %s): %d records were handed to it, and %d came", t.ID(), o.Name, o.Site, sent, o.In)
		}
	}
	return nil
}
