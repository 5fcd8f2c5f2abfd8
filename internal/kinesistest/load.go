package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millstream-go/millstream/connect/kinesis/kpl"
)

const (
	keys       = 100
	perSecond  = 20 // requests
	packed     = 5  // one record in so many is an aggregate
	repeated   = 8  // one request in so many is sent twice, one after the other
	repeatLate = 16 // one in so many again when others were sent meanwhile
	lateBy     = 20 // requests
)

// load sends the input, at a rate. A key has one record in a request at most, and a request is sent when the one before it is
// written, so that the records of a key lie in the order of their numbers, but for those that are sent again: as a producer does
// that has not heard the answer.
type load struct {
	streams
	rng *rand.Rand

	mu    sync.Mutex
	sent  map[string]int // the last number of each key, once it is written
	again int            // records that were sent again
	late  [][]put
	tries int
	// copies were sent so far. Nobody sends while another does.
	copies int
}

// put is one record of a request: events of one key, one after the other.
type put struct {
	key    string
	events []event
}

func newLoad(s streams, seed uint64) *load {
	return &load{streams: s, rng: rand.New(rand.NewPCG(seed, 1)), sent: map[string]int{}}
}

// run sends until ctx ends. What has been begun is sent to its end, so that it is known what was sent.
func (l *load) run(ctx context.Context, rate int) error {
	tick := time.NewTicker(time.Second / perSecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := l.some(context.WithoutCancel(ctx), max(rate/perSecond, 1)); err != nil {
			return err
		}
	}
}

// some sends a number of events, those of one request.
func (l *load) some(ctx context.Context, events int) error {
	var batch []put
	for _, k := range l.rng.Perm(keys) {
		if events <= 0 {
			break
		}
		n := 1
		if l.rng.IntN(packed) == 0 {
			n = 2 + l.rng.IntN(5)
		}
		batch = append(batch, l.put(fmt.Sprintf("k%02d", k), n))
		events -= n
	}
	if err := l.send(ctx, batch); err != nil {
		return err
	}
	switch {
	case l.rng.IntN(repeated) == 0:
		return l.repeat(ctx, batch)
	case l.rng.IntN(repeatLate) == 0:
		l.late = append(l.late, batch)
	}
	if len(l.late) > 0 && l.rng.IntN(lateBy) == 0 {
		batch, l.late = l.late[0], l.late[1:]
		return l.repeat(ctx, batch)
	}
	return nil
}

// all sends an event of every key.
func (l *load) all(ctx context.Context) error {
	var batch []put
	for k := range keys {
		batch = append(batch, l.put(fmt.Sprintf("k%02d", k), 1))
	}
	return l.send(ctx, batch)
}

func (l *load) put(key string, n int) put {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := put{key: key}
	for i := range n {
		p.events = append(p.events, event{Key: key, N: l.sent[key] + 1 + i, Value: l.rng.Int64N(1 << 40)})
	}
	return p
}

// repeat sends again what was written.
func (l *load) repeat(ctx context.Context, batch []put) error {
	for _, p := range batch {
		l.again += len(p.events)
	}
	return l.send(ctx, l.another(batch))
}

// another is the same as copies that there were not before: a copy that is in the stream twice could be in two shards.
func (l *load) another(batch []put) (list []put) {
	l.copies++
	for _, p := range batch {
		q := put{key: p.key}
		for _, e := range p.events {
			e.Copy = l.copies
			q.events = append(q.events, e)
		}
		list = append(list, q)
	}
	return list
}

// send sends until everything is written. After an error it is not known what was; all of it is sent again.
func (l *load) send(ctx context.Context, batch []put) error {
	done := batch
	for len(batch) > 0 {
		in := &api.PutRecordsInput{StreamName: aws.String(l.name(streamIn))}
		for _, p := range batch {
			data, err := p.data()
			if err != nil {
				return err
			}
			in.Records = append(in.Records, types.PutRecordsRequestEntry{PartitionKey: aws.String(p.key), Data: data})
		}
		out, err := l.client.PutRecords(ctx, in, func(o *api.Options) { o.Retryer = aws.NopRetryer{} })
		if err != nil {
			if l.tries++; l.tries > 100 || ctx.Err() != nil {
				return fmt.Errorf("send the input: %w", err)
			}
			if err := pause(ctx, 20*time.Millisecond); err != nil {
				return err
			}
			batch = l.another(batch)
			continue
		}
		l.tries = 0
		var refused []put
		for i, r := range out.Records {
			if r.ErrorCode != nil {
				refused = append(refused, batch[i])
			}
		}
		batch = refused
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range done {
		l.sent[p.key] = max(l.sent[p.key], p.events[len(p.events)-1].N)
	}
	return nil
}

func (p put) data() ([]byte, error) {
	if len(p.events) == 1 {
		return json.Marshal(p.events[0])
	}
	var a kpl.Aggregate
	for _, e := range p.events {
		b, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		a.Add(kpl.Record{Key: p.key, Data: b})
	}
	return a.Bytes(), nil
}

// numbers are the last numbers of all keys.
func (l *load) numbers() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.sent)
}
