package task

import "github.com/millstream-go/millstream/source"

// Within a process records do not go through a topic: a task fills parcels, one for each task behind the exchange, and the
// worker takes them along after a step. A record is withdrawn from its parcel if it turns out that what caused it
// is given up on.

// Parcel is what one task hands to another of this process in one piece: records of one input partition, in order.
type Parcel interface {
	Len() int
	Bytes() int // of memory
	Key(i int) []byte
	// Head fills in what a task needs of a record before it is run: key, headers, and its event time as its time. If the record is an
	// aggregate of several, of is their number, else 0. What it fills in is good until Release.
	Head(i int, r *source.Record) (of uint64)
	// Record is all of a record, as if it came from a topic, for a dead letter.
	Record(i int) source.Record
	// Release gives the parcel back, to be filled again. Any goroutine may call it.
	Release()
}

// Sender is where records leave for other tasks of this process.
type Sender interface {
	Stream() string
	// Withdraw takes back the newest record for a partition.
	Withdraw(partition int32)
	// Take hands over what there is for each partition.
	Take(f func(partition int32, x Parcel))
}

// Cross is what a task hands to others of this process. Its senders have the records.
type Cross struct {
	senders []Sender
	sent    []sent // in order
	bytes   int
}

// sent is a record that lies in a parcel.
type sent struct{ sender, partition, bytes int32 }

// Join adds a sender, and returns its number.
func (x *Cross) Join(s Sender) int32 {
	x.senders = append(x.senders, s)
	return int32(len(x.senders) - 1)
}

// Sent notes a record that a sender has put into a parcel.
func (x *Cross) Sent(sender, partition int32, bytes int) {
	x.sent = append(x.sent, sent{sender, partition, int32(bytes)})
	x.bytes += bytes
}

// Empty says that nothing was sent since the last Take.
func (x *Cross) Empty() bool { return len(x.sent) == 0 }

// rewind withdraws all but the first n records.
func (x *Cross) rewind(n int) {
	for i := len(x.sent) - 1; i >= n; i-- {
		s := x.sent[i]
		x.senders[s.sender].Withdraw(s.partition)
		x.bytes -= int(s.bytes)
	}
	x.sent = x.sent[:n]
}

// Take hands over what was sent.
func (x *Cross) Take(f func(to source.Partition, p Parcel)) {
	if x.Empty() {
		return
	}
	for _, s := range x.senders {
		s.Take(func(partition int32, p Parcel) { f(source.Partition{Stream: s.Stream(), Index: partition}, p) })
	}
	x.sent, x.bytes = x.sent[:0], 0
}
