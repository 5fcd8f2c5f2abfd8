package kinesis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kinesis/kpl"
	"github.com/millstream-go/millstream/source"
)

// reader reads one shard: as it is pushed (fanout.go), or by polling.
//
// Polling, it asks again as soon as the limits allow while there is more, and every PollEvery otherwise. The limits are calls per
// second and bytes per second, and up to 10 MiB in one answer, after which the service refuses for some seconds: so an answer
// is followed by the time that its bytes are worth.
type reader struct {
	s      *session
	o      *owned
	hashes kpl.Range
	ctx    context.Context
	cancel context.CancelFunc

	traffic *traffic

	next     source.Position // the first record that was not delivered
	latest   bool            // begin at the end
	whole    bool            // next is what was read in this session, not found from before it
	ahead    source.Position // where reading goes on, if it is not at next: a time, behind records that are passed over; else zero
	iterator string
	numbers  sequences
	keys     []byte // of the batch that is being made
	average  int64  // bytes of a record, lately; at first they may be large
	caughtUp bool
	// continuation is the sequence number with which the next subscription begins; "": there was none before.
	continuation string
	told         bool // the engine knows where the reader is

	mu    sync.Mutex
	push  bool // nobody asks, so no answer says where the shard ends
	polls poll
	news  chan struct{} // closed and made anew with each poll
}

// poll is the last answer: when it was asked for, and whether nothing lay behind what it brought.
type poll struct {
	asked time.Time
	end   bool
	next  source.Position
}

const (
	maxAnswer        = 10 << 20 // bytes
	maxAnswerRecords = 10_000
	recordOverhead   = 96 // bytes that a record takes in memory, beside its own
)

// newReader is called with the session locked.
func newReader(s *session, o *owned, next source.Position, latest bool) *reader {
	r := &reader{s: s, o: o, traffic: s.counts.reading(o.id), hashes: s.shards[o.id].Hashes, next: next, latest: latest, average: 32 << 10, news: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(s.ctx)
	return r
}

func (r *reader) run() {
	defer r.cancel()
	if err := r.read(); err != nil && r.ctx.Err() == nil {
		r.s.fail(fmt.Errorf("read shard %s of stream %s: %w", r.o.id.Shard, r.o.id.Stream, err))
	}
}

// read reads until the shard ends, or the reader.
func (r *reader) read() error {
	if consumer := r.s.consumers[r.o.id.Stream]; consumer != "" {
		r.pushing(true)
		if done, err := r.pushed(consumer); done || err != nil {
			return err
		}
		r.pushing(false)
	}
	every := time.Duration(float64(time.Second) / r.s.c.CallsPerSecond)
	for r.ctx.Err() == nil {
		reserved := r.s.reserve(r.ctx, r.o, maxAnswer)
		if reserved == 0 {
			return nil
		}
		begun := time.Now()
		out, err := r.poll(min(max(reserved/(r.average+recordOverhead), 1), maxAnswerRecords))
		if err != nil {
			r.s.unreserve(reserved)
			if code(err) == "ExpiredIteratorException" {
				r.iterator = ""
				r.s.c.Observe(Event{What: Expired, Stream: r.o.id.Stream, Shard: r.o.id.Shard, N: 1, Err: err})
				continue
			}
			return err
		}
		over := aws.ToString(out.NextShardIterator) == ""
		r.iterator = aws.ToString(out.NextShardIterator)
		behind := time.Duration(aws.ToInt64(out.MillisBehindLatest)) * time.Millisecond
		bytes, err := r.deliver(out.Records, behind, over)
		r.s.count(r.o.id, bytes)
		r.s.unreserve(reserved)
		if errors.Is(err, errAhead) {
			r.iterator, err = "", nil
		}
		if err != nil {
			return err
		}
		if n := int64(len(out.Records)); n > 0 {
			r.average = (r.average + int64(bytes)/n) / 2
		}
		r.note(poll{asked: begun, end: behind == 0 && !over, next: r.next})
		if over {
			return r.finish()
		}
		pause := every
		if behind == 0 {
			pause = max(every, r.s.c.PollEvery)
		}
		pause = max(pause, time.Duration(float64(bytes)/float64(r.s.c.BytesPerSecond)*float64(time.Second)))
		sleep(r.ctx, pause-time.Since(begun))
	}
	return nil
}

// finish ends the shard: those that follow it are found, and have leases, before anybody can see that it is over.
func (r *reader) finish() error {
	if err := r.s.discover(r.ctx); err != nil {
		return err
	}
	r.s.c.Observe(Event{What: Reshaped, Stream: r.o.id.Stream, Shard: r.o.id.Shard, N: 1})
	r.send(source.Batch{Next: connect.Ended, CaughtUp: true, FetchedAt: time.Now()})
	return nil
}

// poll calls GetRecords for some records, with a new iterator if there is none.
func (r *reader) poll(records int64) (*api.GetRecordsOutput, error) {
	c := &r.s.c
	name, arn := address(r.o.id.Stream)
	if r.iterator == "" {
		in := &api.GetShardIteratorInput{StreamName: name, StreamARN: arn, ShardId: aws.String(r.o.id.Shard)}
		switch at := r.from(); {
		case r.latest:
			in.ShardIteratorType = types.ShardIteratorTypeLatest
		case at == source.Position{}:
			in.ShardIteratorType = types.ShardIteratorTypeTrimHorizon
		case begins(at):
			in.ShardIteratorType, in.Timestamp = types.ShardIteratorTypeAtTimestamp, aws.Time(time.UnixMilli(int64(at.Low)))
		default:
			in.ShardIteratorType, in.StartingSequenceNumber = types.ShardIteratorTypeAtSequenceNumber, aws.String(number(at))
		}
		out, err := call(r.ctx, c, "get an iterator", r.o.id.Stream, r.o.id.Shard, func(ctx context.Context) (*api.GetShardIteratorOutput, error) {
			return c.Client.GetShardIterator(ctx, in, once)
		})
		if err != nil {
			return nil, err
		}
		r.iterator, r.latest = aws.ToString(out.ShardIterator), false
	}
	in := &api.GetRecordsInput{ShardIterator: aws.String(r.iterator), StreamARN: arn, Limit: aws.Int32(int32(records))}
	return call(r.ctx, c, "get records", r.o.id.Stream, r.o.id.Shard, func(ctx context.Context) (*api.GetRecordsOutput, error) {
		begun := time.Now()
		out, err := c.Client.GetRecords(ctx, in, once)
		if err == nil {
			r.s.counts.gets[r.o.id.Stream].note(time.Since(begun))
		}
		return out, err
	})
}

// from is where an iterator or a subscription begins.
func (r *reader) from() source.Position {
	if r.ahead != (source.Position{}) {
		return r.ahead
	}
	return r.next
}

// errAhead: the answer and what follows it is passed over; reading goes on at ahead.
var errAhead = errors.New("records are passed over")

// deliver hands records over, those of aggregates one by one, without what was read before. It returns how many bytes the
// answer had.
func (r *reader) deliver(recs []types.Record, behind time.Duration, over bool) (bytes int, err error) {
	b := source.Batch{CaughtUp: behind == 0 || over, Behind: behind, FetchedAt: time.Now(), Records: r.s.slabs.Get(len(recs))}
	size := 0
	for i := range recs {
		size += len(aws.ToString(recs[i].PartitionKey))
	}
	r.keys = make([]byte, 0, size) // all keys of a batch in one piece of memory
	for i := range recs {
		rec := &recs[i]
		bytes += len(rec.Data) + len(aws.ToString(rec.PartitionKey))
		pos, err := r.numbers.read(aws.ToString(rec.SequenceNumber))
		if err != nil {
			return bytes, err
		}
		if err := r.gap(pos); err != nil {
			return bytes, err
		}
		r.unpack(&b, rec, pos)
	}
	r.traffic.note(len(b.Records), bytes, behind)
	if len(b.Records) == 0 && r.told && b.CaughtUp == r.caughtUp && behind == 0 {
		return bytes, nil // nothing new
	}
	r.caughtUp, r.told = b.CaughtUp, true
	b.Next, b.Bytes = r.next, bytes+recordOverhead*len(b.Records)
	records := b.Records
	b.Release = func() { r.s.putSlab(records) }
	r.send(b)
	return bytes, nil
}

// putSlab takes a slab back, without what it points to: that is the client's, and not used again.
func (s *session) putSlab(list []source.Record) {
	clear(list)
	s.slabs.Put(list)
}

// unpack appends a record's parts to a batch, from next on.
func (r *reader) unpack(b *source.Batch, rec *types.Record, pos source.Position) {
	arrival := aws.ToTime(rec.ApproximateArrivalTimestamp).UnixMilli()
	add := func(key string, data []byte) {
		if pos.Compare(r.next) >= 0 {
			n := len(r.keys)
			r.keys = append(r.keys, key...)
			b.Records = append(b.Records, source.Record{Key: r.keys[n:len(r.keys):len(r.keys)], Value: value(data), Time: arrival, Position: pos})
		}
		pos.Sub++
	}
	r.whole = true
	parts, aggregate, err := kpl.Decode(rec.Data)
	what := Event{Stream: r.o.id.Stream, Shard: r.o.id.Shard, N: max(len(parts), 1), Err: err}
	switch {
	case err != nil:
		what.What = BadAggregate
		r.s.c.Observe(what)
		r.s.log.Warn("a damaged aggregate is handed on as it is", "stream", r.o.id.Stream, "shard", r.o.id.Shard, "sequence number", aws.ToString(rec.SequenceNumber), "err", err)
		add(aws.ToString(rec.PartitionKey), rec.Data)
	case !aggregate:
		add(aws.ToString(rec.PartitionKey), rec.Data)
	default:
		if !r.s.scattered[r.o.id.Stream] && !r.hashes.Owns(parts) {
			what.What = Foreign
			r.s.c.Observe(what)
			if r.s.c.DropForeign {
				parts = nil
			}
		}
		for _, p := range parts {
			add(p.Key, p.Data)
		}
		pos.Sub = max(pos.Sub, 1) // of one without parts: behind it
	}
	if pos.Compare(r.next) > 0 {
		r.next, r.ahead = pos, source.Position{}
	}
}

// value is a record's data: none is no tombstone.
func value(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}

// gap finds out whether records were deleted (retention) before they were read: a position that was found from before names a
// record, and the service begins with that or, if it is gone, with one behind it.
func (r *reader) gap(first source.Position) error {
	found := r.next
	if r.whole || begins(found) || first.High == found.High && first.Mid == found.Mid && first.Low == found.Low {
		return nil
	}
	r.whole = true
	if err := r.s.missed(r.o.id.partition(), found, first); err != nil || r.s.specs[r.o.id.Stream].Range.Deleted != source.DeletedLatest {
		return err
	}
	// The position stays what it was until a record comes: whoever goes on from it meanwhile finds the same gap.
	r.ahead, r.latest = arrived(time.Now()), true
	return errAhead
}

// missed does what the source says of records that were deleted before they were read.
func (s *session) missed(part source.Partition, from, to source.Position) error {
	if s.specs[part.Stream].Range.Deleted == source.DeletedFails {
		return fmt.Errorf("%w: %v is read from position %v on, and nothing is left before %v. Say source.OnDeleted(source.DeletedSkips) to go on there, or source.DeletedLatest to go on at the end: %w", connect.ErrDeleted, part, from, to, errGap)
	}
	what := "records were deleted before they were read"
	if s.specs[part.Stream].Range.Deleted == source.DeletedLatest {
		what += ", and what is left is passed over"
	}
	s.log.Warn(what, "partition", part.String(), "from", from.String(), "to", to.String())
	if s.app.OnGap != nil {
		s.app.OnGap(part, from, to)
	}
	return nil
}

var errGap = errors.New("the stream's retention is shorter than the application was away")

// count tells the leases of bytes that were read, if they want to know.
func (s *session) count(id ShardID, bytes int) {
	s.mu.Lock()
	m, ok := s.member.(interface{ Read(ShardID, int) })
	s.mu.Unlock()
	if ok && bytes > 0 {
		m.Read(id, bytes)
	}
}

func (r *reader) send(b source.Batch) {
	b.Partition = r.o.id.partition()
	select {
	case r.s.batches <- b:
	case <-r.ctx.Done():
	}
}

func (r *reader) note(p poll) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.polls = p
	close(r.news)
	r.news = make(chan struct{})
}

func (r *reader) pushing(push bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.push = push
	close(r.news)
	r.news = make(chan struct{})
}

// end waits for an answer that was asked for after a time, and returns where the shard ended then.
func (r *reader) end(ctx context.Context, after time.Time) (at source.Position, ok bool, err error) {
	for {
		r.mu.Lock()
		p, news, push := r.polls, r.news, r.push
		r.mu.Unlock()
		if push {
			return at, false, nil
		}
		if p.asked.After(after) {
			return p.next, p.end, nil
		}
		select {
		case <-news:
		case <-r.ctx.Done():
			return at, false, nil
		case <-ctx.Done():
			return at, false, ctx.Err()
		}
	}
}
