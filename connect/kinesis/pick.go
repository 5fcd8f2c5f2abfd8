package kinesis

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millstream-go/millstream/connect/kinesis/kpl"
	"github.com/millstream-go/millstream/sink"
)

// request is one PutRecords.
type request struct {
	puts  []*put
	bytes int
}

// put is one record of a request: an entry, or an aggregate of several.
type put struct {
	entries []*entry
	packed  kpl.Aggregate
	shard   string // where it is expected to arrive
	taken   string // the shard that gets nothing else meanwhile, if Write.Strict
}

// An aggregate is closed at this size: that of the Kinesis Producer Library, one unit of what PutRecord is billed by, twice.
const maxAggregate = 51_200

// pick fills a request from the queue, in order, with what may be sent now. What may not is passed over, and with it all
// later records of the same key. If there is nothing, it says how long.
func (w *writer) pick(now time.Time) (*request, time.Duration) {
	req, wait := &request{}, time.Hour
	for _, t := range w.shardMap {
		t.bucket.fill(now, w.c.Write.Share)
	}
	held := map[string]bool{}   // keys that are passed over
	open := map[string]*put{}   // by shard, the aggregate that is being filled
	packed := map[string]*put{} // by key, the put that it is in
	rest := w.queue[:0:0]
	for i, e := range w.queue {
		if req.bytes >= w.c.Write.RequestBytes || len(req.puts) == w.c.Write.most() && len(open) == 0 {
			rest = append(rest, w.queue[i:]...)
			break
		}
		if !w.c.Write.Unordered && (w.busy[e.Key] || held[e.Key]) {
			rest = append(rest, e)
			continue
		}
		t := w.shardMap.owner(e.hash)
		if w.c.Write.Strict && w.taken[t.name()] {
			held[e.Key] = true
			rest = append(rest, e)
			continue
		}
		p := w.room(req, e, t, open, packed)
		if p == nil {
			if t != nil && !t.bucket.open() {
				wait = min(wait, t.bucket.wait(w.c.Write.Share))
			}
			held[e.Key] = true
			rest = append(rest, e)
			continue
		}
		if len(p.entries) == 0 {
			req.puts = append(req.puts, p)
			if t != nil {
				p.shard = t.id
				t.bucket.records--
			}
			if w.c.Write.Aggregate && t != nil {
				open[t.id] = p
			}
		}
		if t != nil {
			t.bucket.bytes -= float64(e.size())
		}
		p.entries = append(p.entries, e)
		if w.c.Write.Aggregate {
			p.packed.Add(e.Record)
		}
		packed[e.Key] = p
		req.bytes += e.size() + 48
	}
	if len(req.puts) == 0 {
		return nil, wait
	}
	w.queue = rest
	for _, p := range req.puts {
		for _, e := range p.entries {
			w.busy[e.Key] = true
		}
		if w.c.Write.Strict {
			p.taken = p.shard
			w.taken[p.taken] = true
		}
	}
	return req, 0
}

// room finds the put of a request that takes an entry: a new one, or the aggregate that is being filled for its shard. It is nil
// if there is none, or if the key has a record in another put already.
func (w *writer) room(req *request, e *entry, t *target, open, packed map[string]*put) *put {
	before := packed[e.Key]
	if w.c.Write.Aggregate && t != nil {
		if p := open[t.id]; p != nil && (before == nil || before == p || w.c.Write.Unordered) && p.packed.SizeWith(e.Record) <= maxAggregate {
			return p
		}
	}
	if before != nil && !w.c.Write.Unordered || t != nil && !t.bucket.open() || len(req.puts) == w.c.Write.most() || len(req.puts) > 0 && req.bytes+e.size() > w.c.Write.RequestBytes {
		return nil
	}
	return &put{}
}

// send sends a request and takes the answers. An error is one that a person has to mend.
func (w *writer) send(ctx context.Context, req *request) error {
	w.mu.Lock()
	w.sent.requests++
	w.sent.records += int64(len(req.puts))
	w.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, w.c.CallTimeout)
	answers, err := w.put(limited, req)
	cancel()
	defer w.free(req)
	if err != nil {
		if e := fatal("put records", err); e != nil {
			return e
		}
		w.lost(ctx, req, err)
		return nil
	}
	var written, again []*entry
	var foreign []*put
	var moved []string
	taken := 0
	w.mu.Lock()
	for i, p := range req.puts {
		a := answers[i]
		t := w.shardMap.find(p.shard)
		if c := aws.ToString(a.ErrorCode); c != "" {
			again = append(again, p.entries...)
			e := Event{What: Retried, Stream: w.name, Shard: p.shard, N: len(p.entries)}
			if throttled(c) {
				e.What = Throttled
			}
			if throttled(c) && t != nil {
				t.bucket.refused()
			} else {
				w.pause()
			}
			w.c.Observe(e)
			continue
		}
		w.tries = 0
		if t != nil {
			t.bucket.taken()
		}
		at := aws.ToString(a.ShardId)
		taken++
		w.sent.acknowledge(at, p)
		if at != p.shard && !w.apart {
			moved = append(moved, at)
			if p.shard = at; len(p.entries) > 1 {
				foreign = append(foreign, p)
				continue
			}
		}
		written = append(written, p.entries...)
	}
	if taken > 0 && taken < len(req.puts) {
		w.sent.partial++
	}
	w.mu.Unlock()
	if len(moved) > 0 {
		if err := w.refresh(ctx, moved...); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range foreign {
		// The aggregate was made for a shard that has been split or merged meanwhile. A consumer that follows the Kinesis
		// Client Library drops it unless all of its records belong where it arrived, which may have been closed again since.
		if owned, known := w.ranges[p.shard]; known && owned.Owns(p.records()) {
			written = append(written, p.entries...)
			continue
		}
		again = append(again, p.entries...)
		w.c.Observe(Event{What: WrittenAgain, Stream: w.name, Shard: p.shard, N: len(p.entries)})
	}
	w.settle(written, again)
	return nil
}

// put calls the service, and returns what it says of each record.
func (w *writer) put(ctx context.Context, req *request) ([]types.PutRecordsResultEntry, error) {
	if w.c.Write.Strict {
		return w.putStrictly(ctx, req.puts[0])
	}
	name, arn := address(w.name)
	in := &api.PutRecordsInput{StreamName: name, StreamARN: arn}
	for _, p := range req.puts {
		in.Records = append(in.Records, p.record())
	}
	out, err := w.c.Client.PutRecords(ctx, in, once)
	if err != nil {
		return nil, err
	}
	return out.Records, nil
}

// lost puts a whole request back after a failed call, which may have been done nevertheless.
func (w *writer) lost(ctx context.Context, req *request, err error) {
	w.c.tell(err, w.name, "")
	if w.mu.Lock(); w.tries >= sayAfter {
		w.c.log.Warn("a stream cannot be written; trying again", "stream", w.name, "tries", w.tries+1, "err", err)
	}
	w.mu.Unlock()
	var all []*entry
	for _, p := range req.puts {
		all = append(all, p.entries...)
	}
	if code(err) == "" && ctx.Err() == nil {
		w.c.Observe(Event{What: MaybeDoubled, Stream: w.name, N: len(all), Err: err})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pause()
	w.settle(nil, all)
}

// pause holds all requests back for a while, longer after each failure.
func (w *writer) pause() {
	w.paused = time.Now().Add(jitter(w.tries))
	w.tries++
}

func (p *put) records() (list []kpl.Record) {
	for _, e := range p.entries {
		list = append(list, e.Record)
	}
	return list
}

// size is what a put counts for in the limits of its shard: data and key.
func (p *put) size() int {
	if len(p.entries) == 1 {
		return p.entries[0].size()
	}
	return p.packed.Size() + len(p.entries[0].Key)
}

// record is the put as the service takes it. One entry alone needs no envelope.
func (p *put) record() types.PutRecordsRequestEntry {
	key, hash, data := p.entries[0].Key, p.entries[0].HashKey, p.entries[0].Data
	if len(p.entries) > 1 {
		data = p.packed.Bytes()
	}
	r := types.PutRecordsRequestEntry{PartitionKey: aws.String(key), Data: data}
	if hash != "" {
		r.ExplicitHashKey = aws.String(hash)
	}
	return r
}

// deadLetter is how a bad record is written: Kinesis has no headers that could say why and whence.
type deadLetter struct {
	Reason map[string]string `json:"reason"` // the headers of package onerror, without their prefix
	Key    []byte            `json:"key,omitempty"`
	Value  []byte            `json:"value"`
	Time   time.Time         `json:"time"`
}

// headerPrefix begins the names of the headers that a dead letter has.
const headerPrefix = "millstream-"

// data is what is written of a record: its value, or, of a dead letter, a JSON object that has the reason too.
func data(r *sink.Record) []byte {
	reason := map[string]string{}
	for _, h := range r.Headers {
		if name, ours := strings.CutPrefix(h.Key, headerPrefix); ours {
			reason[name] = string(h.Value)
		}
	}
	if reason["error"] == "" {
		if r.Value == nil {
			return []byte{}
		}
		return r.Value
	}
	b, err := json.Marshal(deadLetter{reason, r.Key, r.Value, time.UnixMilli(r.Time).UTC()})
	if err != nil || len(b) > maxLetter {
		return r.Value
	}
	return b
}

// maxLetter is how large a dead letter may be; a larger one is written as it was read.
const maxLetter = 1<<20 - 4*maxKey
