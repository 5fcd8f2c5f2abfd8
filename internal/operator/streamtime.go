package operator

// Kafka Streams' idea of time, for operators that go by its rules: each has a stream time of its own, the largest time
// among the records that it has seen, and acts only when a record comes. The operators of this kind are in files that
// begin with streamtime_; they are chosen when a topology is built, so that the others know nothing of them.

// StreamTime is what they have in common.
type StreamTime struct {
	EmitEvery int64 // ms of wall-clock time between two looks for what is to be emitted; 0: with every record
}
