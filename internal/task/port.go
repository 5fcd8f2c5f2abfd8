package task

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millstream-go/millstream/internal/eventtime"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/source"
)

// TimeHeader carries a record's event time across a repartition topic, whose own timestamps are wall-clock times: a
// broker deletes by them. The value is the time in eight bytes; if the record is an aggregate of several, their number
// follows as a varint, and the name of the codec that wrote it.
const TimeHeader = "millstream-time"

// PortSpec describes an input of a subtopology: a source, or a repartition topic.
type PortSpec struct {
	Name        string
	OnError     onerror.Policy
	Repartition bool
	Memory      bool  // the repartition is within this process, without a topic
	Upstream    int   // number of upstream tasks, of a repartition
	Bound       int64 // ms that records may be out of order
	IdleAfter   int64 // ms without a record after which the input is idle; 0: never
	ProvenAfter int64 // ms without a record after which a proof that there is none moves the time; 0: never
	MaxAhead    int64 // ms that a record's time may lie ahead of the wall clock; negative: no bound
	MaxJump     int64 // ms that a record's time may lie ahead of all before it in the partition; 0: no bound
	Confirm     int   // how many others in a row must agree with one that does
	First       bool  // a table: it is read to the end that it had at start before other ports are read
	Align       int64 // ms that its watermark may be ahead of the smallest; 0: of no concern. See Alignment
	Ends        bool  // it has an end (source.Range)
}

// Port is one input partition of a task: a queue of batches that the connector fills, and how far the task has read.
type Port struct {
	Part source.Partition
	Spec *PortSpec
	Run  func(c *Ctx, r *source.Record)       // the compiled chain
	Peek func(c *Ctx, r *source.Record) int64 // the event time of a record that is not run yet; nil: the record's own
	Op   int32                                // the operator that Run begins with
	Hot  *HotKeys                             // the keys that come most often; nil: its records have none
	Keys string                               // the name of the codec of its records' keys; "": they have none

	Input   eventtime.Input
	Time    eventtime.Bounded
	Carried eventtime.Carried

	seen     int64 // largest event time among the records run so far, as far as it is believed
	guard    eventtime.Guard
	doubt    bool   // the time of the record at hand is not believed
	doubted  uint64 // records whose times were not
	tries    int    // of the record at the head that have failed
	most     int64  // watermark above which it waits for others
	waits    atomic.Bool
	stands   atomic.Bool
	clocks   []*Clock
	lastRead int64 // wall clock of the last record, for idleness

	cur    source.Batch
	parcel Parcel        // has the records of cur; nil: cur has them
	record source.Record // the head of the parcel's next one
	of     uint64        // it is an aggregate of so many; 0: it is not
	count  int           // of records in cur
	at     int           // next record in cur
	told   int           // before which Prefetchers have seen the records of cur
	next   source.Position
	// known: next is meaningful; limited: records at and after limit wait (at-most-once).
	known, limited bool
	limit          source.Position
	read           uint64
	handed         uint64 // to Run
	caughtUp       bool   // everything that the partition held when last asked has been delivered
	end            source.Position
	behind         time.Duration
	primed         bool            // a table has been read to the end that it had at start
	target         source.Position // that end, once hasTarget
	hasTarget      bool

	mu     sync.Mutex
	queue  []offer
	queued int // bytes, cur included
	// offered is the position behind all that was offered, or where the batches begin.
	offered source.Position
	offers  bool // offered is known
	// proof was handed in and not used yet.
	proof    Proof
	hasProof bool

	promised atomic.Pointer[int64] // see Promise
}

// offer is a batch. If another task of this process has sent it, the records are in a parcel.
type offer struct {
	source.Batch
	parcel Parcel
}

func (o *offer) count() int {
	if o.parcel != nil {
		return o.parcel.Len()
	}
	return len(o.Records)
}

// Offer appends a batch to the queue. It is the one method that another goroutine than the task's owner may call, with
// Hand and Queued.
func (p *Port) Offer(b source.Batch) { p.Hand(b, nil) }

// Hand appends a batch of which the parcel, unless it is nil, has the records. It is the batch's Release that releases it.
func (p *Port) Hand(b source.Batch, x Parcel) {
	p.mu.Lock()
	p.queue = append(p.queue, offer{b, x})
	p.queued += b.Bytes
	p.offered, p.offers = b.Next, true
	p.mu.Unlock()
}

// Queued is the number of bytes that wait.
func (p *Port) Queued() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queued
}

// Start sets the position from which batches will come.
func (p *Port) Start(at *source.Position, caughtUp bool) {
	if at != nil {
		p.next, p.known = *at, true
	}
	p.caughtUp = caughtUp
}

// Next is the first position that was not processed; ok is false if it is not known yet.
func (p *Port) Next() (next source.Position, ok bool) { return p.next, p.known }

// Lag is the number of records between what was processed and the end of the partition when last asked; 0 where positions
// are not counted one by one.
func (p *Port) Lag() int64 {
	if p.next.High != 0 {
		return 0
	}
	return max(0, p.end.Offset()-p.next.Offset())
}

// Behind is how far in time what was fetched last lay behind the end, where the system says that.
func (p *Port) Behind() time.Duration { return p.behind }

// Seen is the largest event time that was processed, or eventtime.None.
func (p *Port) Seen() int64 { return p.seen }

// At is the position of the record that is being processed.
func (p *Port) At() source.Position {
	if p.parcel != nil {
		return source.Position{}
	}
	return p.cur.Records[p.at].Position
}

// Parcel is what the record at hand came in, and its number there; nil if it came through a topic.
func (p *Port) Parcel() (x Parcel, i int) { return p.parcel, p.at }

// atHand is the record at hand with all that is known of it.
func (p *Port) atHand() *source.Record {
	if p.parcel != nil {
		r := p.parcel.Record(p.at)
		return &r
	}
	return &p.cur.Records[p.at]
}

// key is that of record i of the batch at hand.
func (p *Port) key(i int) []byte {
	if p.parcel != nil {
		return p.parcel.Key(i)
	}
	return p.cur.Records[i].Key
}

// Handed is the number of records that were handed to Run, those that are tried again each time.
func (p *Port) Handed() uint64 { return p.handed }

// Read is the number of records that were read.
func (p *Port) Read() uint64 { return p.read }

// head returns the next record, or nil if none is there or none may be read.
func (p *Port) head() *source.Record {
	if p.ahead() {
		return nil
	}
	for p.at >= p.count {
		if !p.load() {
			return nil
		}
	}
	if p.parcel != nil {
		return &p.record
	}
	r := &p.cur.Records[p.at]
	if p.limited && r.Position.Compare(p.limit) >= 0 {
		return nil
	}
	return r
}

// load takes the next batch from the queue.
func (p *Port) load() bool {
	p.mu.Lock()
	if len(p.queue) == 0 {
		p.mu.Unlock()
		return false
	}
	b := p.queue[0]
	p.queue[0] = offer{}
	p.queue = p.queue[1:]
	p.mu.Unlock()
	p.cur, p.parcel, p.count, p.at, p.told = b.Batch, b.parcel, b.count(), 0, 0
	p.caughtUp = b.CaughtUp
	p.behind = b.Behind
	if b.End.Compare(p.end) > 0 {
		p.end = b.End
	}
	if !p.hasTarget && b.End != (source.Position{}) {
		p.target, p.hasTarget = b.End, true
	}
	if p.count == 0 {
		p.finish()
	} else if p.parcel != nil {
		p.of = p.parcel.Head(0, &p.record)
	} else if !p.known {
		p.next, p.known = b.Records[0].Position, true
	}
	return true
}

// pass moves on behind the record at the head.
func (p *Port) pass() {
	p.at++
	p.read++
	p.tries = 0
	switch {
	case p.at >= p.count:
		p.finish()
	case p.parcel != nil:
		p.of = p.parcel.Head(p.at, &p.record)
	default:
		p.next = p.cur.Records[p.at].Position
	}
}

func (p *Port) finish() {
	p.next, p.known = p.cur.Next, true
	p.mu.Lock()
	p.queued -= p.cur.Bytes
	p.mu.Unlock()
	if p.cur.Release != nil {
		p.cur.Release()
	}
	p.drop()
}

// drop forgets the batch at hand.
func (p *Port) drop() {
	p.cur, p.parcel, p.record, p.of, p.count, p.at = source.Batch{}, nil, source.Record{}, 0, 0, 0
}

// mayIdle says that silence would make the port idle: nothing is queued, and nothing was left to read when last asked.
func (p *Port) mayIdle() bool {
	return p.Spec.IdleAfter > 0 && !p.Input.Idle && !p.Spec.Repartition && p.caughtUp && p.Empty() && !p.ahead()
}

// close releases what is queued. Release is called without the lock, since it may ask the port.
func (p *Port) close() {
	if p.at < p.count && p.cur.Release != nil {
		p.cur.Release()
	}
	p.drop()
	p.mu.Lock()
	queue := p.queue
	p.queue, p.queued = nil, 0
	p.mu.Unlock()
	for _, b := range queue {
		if b.Release != nil {
			b.Release()
		}
	}
}

// Empty says that nothing is queued.
func (p *Port) Empty() bool {
	if p.at < p.count {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.queue) == 0
}

// QueueEnd is the position behind what is queued; ok is false if nothing was ever queued.
func (p *Port) QueueEnd() (end source.Position, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.offered, p.offers
}

// Limit keeps the task from reading records at and after a position; the zero position, from reading any. It is how
// at-most-once commits positions before it processes what lies before them.
func (p *Port) Limit(at source.Position) { p.limited, p.limit = true, at }

// headTime is the event time of the record at the head. One that would not be believed does not have to wait for others.
func (p *Port) headTime(c *Ctx, r *source.Record) int64 {
	at := p.peek(c, r)
	if now := max(p.seen, p.Time.Max); p.guard.Most > 0 && now != eventtime.None && at > now {
		at = min(at, now+p.guard.Most)
	}
	return at
}

func (p *Port) peek(c *Ctx, r *source.Record) (at int64) {
	if p.Peek != nil {
		defer func() {
			if recover() != nil {
				at = r.Time // the same happens when the record is run, and it is given up on then
			}
		}()
		return p.Peek(c, r)
	}
	if t, _, ok := carriedTime(r); ok {
		return t
	}
	return r.Time
}

// carriedTime reads the event time from a record of a repartition topic, and what follows it if the record is an aggregate.
func carriedTime(r *source.Record) (ms int64, rest []byte, ok bool) {
	if len(r.Headers) == 0 || r.Headers[0].Key != TimeHeader || len(r.Headers[0].Value) < 8 {
		return 0, nil, false
	}
	b := r.Headers[0].Value
	return int64(binary.BigEndian.Uint64(b)), b[8:], true
}

// Observe takes a record's event time into account once the record has been run.
func (p *Port) Observe(t int64) {
	if p.guard.Most == 0 {
		p.seen = max(p.seen, t)
		return
	}
	p.seen, p.doubt = p.guard.See(max(p.seen, p.Time.Max), t)
}

// Doubted is the number of records whose times lay too far ahead to be believed when they came.
func (p *Port) Doubted() uint64 { return p.doubted }
