package kinesistest

import "time"

// Fault is something that goes wrong, once or several times. Its fields say for which calls and what; several effects
// add up.
type Fault struct {
	Action string // of the API, as PutRecords; empty: any
	Shard  string // of the call or its iterator, or the key of its DynamoDB item; empty: any
	After  int    // how many calls that fit pass first
	Times  int    // how many calls it happens to; 0: one

	// Error is the name of an error that the call gets instead of its answer, for example
	// ProvisionedThroughputExceededException, ExpiredIteratorException, KMSThrottlingException, InternalFailure or, of
	// DynamoDB, ThrottlingException and ConditionalCheckFailedException.
	// Nothing is done.
	Error string

	// Refuse says for each record of a PutRecords, by its place, whether it is refused by itself with RefuseCode (default
	// ProvisionedThroughputExceededException) while the others are written.
	Refuse     func(i int) bool
	RefuseCode string

	// Events, of a SubscribeToShard, is how many events come before the fault happens to the stream of them: after the Delay
	// an error is an event, and a lost answer a connection that ends. 0: it happens to the call.
	Events int

	// LoseAnswer does what was asked and closes the connection instead of an answer.
	LoseAnswer bool

	// Delay holds the call up before it is looked at.
	Delay time.Duration
}

// Fault adds a fault. Those that were added first are looked at first; one call meets one fault.
func (s *Server) Fault(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.Times == 0 {
		f.Times = 1
	}
	s.faults = append(s.faults, &f)
}

// Heal forgets the faults that have not happened yet.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Pending is the number of faults that have not happened as often as they should.
func (s *Server) Pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.faults)
}

// take finds the fault of a call. The server is locked.
func (s *Server) take(action, shard string) *Fault {
	for i, f := range s.faults {
		if f.Action != "" && f.Action != action || f.Shard != "" && f.Shard != shard {
			continue
		}
		if f.After > 0 {
			f.After--
			continue
		}
		if f.Times--; f.Times == 0 {
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
		}
		return f
	}
	return nil
}
