// Package onerror says what becomes of a record that cannot be processed: one that does not decode, one for which a
// user's function returns an error or panics, one that a destination refuses for its size or its time.
//
// Whatever the policy, the record is counted with its cause, and the position moves on in the same commit as the dead
// letter, so that a bad record is never met twice and never lost twice.
package onerror

// Action is what a Policy does.
type Action uint8

// The actions.
const (
	ActionSkip Action = iota
	ActionFail
	ActionDeadLetter
)

// Policy is what to do with a bad record. The zero value is Skip.
type Policy struct {
	Action Action
	Topic  string // the dead-letter topic of DeadLetter
	Retry  Retry  // before that; see Retry.Then
}

// Skip drops the record, counts it, and logs the first ones of each cause. It is the default: bad data does not stop
// an application unless that is asked for.
var Skip = Policy{Action: ActionSkip}

// Fail stops the application with an error that names operator, partition and position.
var Fail = Policy{Action: ActionFail}

// DeadLetter writes the record as it was read (key, value and headers) to topic, in the same commit as its position.
// The headers millstream-error, -operator, -topic, -partition, -offset and -time say why and whence. A result of a window
// or a timer, behind which there is no record, has its key and no value.
func DeadLetter(topic string) Policy { return Policy{Action: ActionDeadLetter, Topic: topic} }
