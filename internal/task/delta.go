package task

import (
	"github.com/millstream-go/millstream/internal/keysort"
	"github.com/millstream-go/millstream/source"
)

// Delta is what an epoch has changed in a task: the same bytes go to the changelog and, once the epoch is committed,
// to the store.
type Delta struct {
	Task    *Task
	Epoch   uint64
	Entries []Entry
	Ranges  []Range
	Touched bool // the task read or wrote something
	// Positions are the first unprocessed positions of the task's inputs.
	Positions map[source.Partition]source.Position
	// Watermarks are those of the inputs, and Marker is the newest epoch marker, as of the cut: the task has gone on since.
	Watermarks map[source.Partition]int64
	Marker     *Marker
	// Waiting are the times of the inputs' records that are not believed, see eventtime.Guard; nil if there are none.
	Waiting map[source.Partition][]int64
	// Carry is the watermark to be sent along to the repartition topics that the task writes.
	Carry []Carry
	Bytes int

	logOnly []Entry // go to the end of Entries
	arena   []byte
}

// Entry is a changed or (nil Value) deleted entry.
type Entry struct {
	Key, Value []byte
	// LogOnly entries are for the changelog alone: deletions that a Range already covers in the store.
	LogOnly bool
}

// Range deletes lo <= key < hi from the store.
type Range struct{ Lo, Hi []byte }

// Carry is a task's watermark as it travels to the tasks behind a repartition topic.
type Carry struct {
	Stream    string // the repartition topic
	Task      int32  // number of the upstream task
	Watermark int64
	Idle      bool
}

// Buf returns an empty slice with room for a key and a value, which Put then takes.
func (d *Delta) Buf(room int) []byte {
	if cap(d.arena)-len(d.arena) < room {
		d.arena = make([]byte, 0, max(min(2*cap(d.arena), chunk), firstChunk, room))
	}
	return d.arena[len(d.arena):]
}

// Put adds an entry: b is what became of the slice from Buf, the key in its first keyLen bytes. A tombstone has no
// value.
func (d *Delta) Put(b []byte, keyLen int, tombstone, logOnly bool) {
	e := Entry{Key: b[:keyLen:keyLen], LogOnly: logOnly}
	if !tombstone {
		e.Value = b[keyLen:len(b):len(b)]
	}
	if logOnly {
		d.logOnly = append(d.logOnly, e)
	} else {
		d.Entries = append(d.Entries, e)
	}
	d.Bytes += len(b) + 48
	if n := len(d.arena) + len(b); n <= cap(d.arena) && len(b) > 0 && &d.arena[:n][n-1] == &b[len(b)-1] {
		d.arena = d.arena[:n]
	}
}

// Take moves the entries of o, which was filled in advance, to d.
func (d *Delta) Take(o *Delta) {
	d.Entries, d.logOnly = append(d.Entries, o.Entries...), append(d.logOnly, o.logOnly...)
	d.Bytes += o.Bytes
	*o = Delta{}
}

// sort puts the entries into key order, which makes the store's insertions cheaper. The changelog needs no order. It returns
// the list that they were in, to be filled again.
func (d *Delta) sort() (unsorted []Entry) {
	unsorted = d.Entries
	sorted := make([]Entry, 0, len(d.Entries)+len(d.logOnly)+1) // and a marker
	for _, at := range keysort.Order(len(d.Entries), func(i int) []byte { return d.Entries[i].Key }) {
		sorted = append(sorted, d.Entries[at])
	}
	d.Entries, d.logOnly = append(sorted, d.logOnly...), nil
	clear(unsorted)
	if len(unsorted) < cap(unsorted)/8 { // a rare large epoch must not cost memory for ever
		return nil
	}
	return unsorted[:0]
}
