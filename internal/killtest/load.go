package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The input. What the records are depends on the seed alone, when they are sent on the clock: event times are years
// ago, and run several times as fast as it.

const (
	base     = 1_609_459_200_000 // 2021-01-01, in ms
	step     = 2                 // ms of event time from record to record
	keys     = 100
	broken   = 200              // one record in so many cannot be decoded
	silence  = 6000             // records for which a partition is silent, in a mixed run
	farAhead = 365 * 86_400_000 // the time of the last records, behind base
)

// load sends the input, at a rate, in a goroutine of its own.
type load struct {
	cl     *kgo.Client
	prof   profile
	topic  func(string) string
	rng    *rand.Rand
	mu     sync.Mutex
	next   int64 // id
	paused bool
	rate   int   // records per second
	parts  int32 // of the topic with manual partitions
	err    error
}

func newLoad(brokers []string, p profile, topic func(string) string, seed uint64) (*load, error) {
	l := &load{prof: p, topic: topic, rng: rand.New(rand.NewPCG(seed, 1)), next: 1, parts: partitions[topicIn]}
	return l, l.connect(brokers)
}

func (l *load) connect(brokers []string) (err error) {
	l.cl, err = kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(50*time.Millisecond),
		kgo.RecordPartitioner(byTopic{l.topic(topicIn), kgo.StickyKeyPartitioner(nil)}))
	return err
}

// byTopic leaves the partitions of one topic to the caller, and those of all others to the hash of the key.
type byTopic struct {
	manual string
	kgo.Partitioner
}

func (b byTopic) ForTopic(t string) kgo.TopicPartitioner {
	if t == b.manual {
		return kgo.ManualPartitioner().ForTopic(t)
	}
	return b.Partitioner.ForTopic(t)
}

// run sends until ctx ends.
func (l *load) run(ctx context.Context) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	owed := 0.0
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		l.mu.Lock()
		if !l.paused {
			for owed += float64(l.rate) / 100; owed >= 1; owed-- {
				l.one(ctx)
			}
		}
		l.mu.Unlock()
	}
}

// one sends the next record, and for some of them one to the keyed topic as well.
func (l *load) one(ctx context.Context) {
	id := l.next
	l.next++
	p := int32(l.rng.IntN(int(l.parts)))
	if quiet := int32(id / silence % int64(l.parts+2)); l.prof.idle > 0 && p == quiet {
		p = (p + 1) % l.parts
	}
	now := base + id*step
	at := now - l.rng.Int64N(l.prof.bound.Milliseconds()*9/10)
	if l.prof.stray > 0 && l.rng.IntN(l.prof.stray) == 0 {
		at = now - l.rng.Int64N(30_000)
	} else if edge := now / l.prof.advance * l.prof.advance; now-edge < l.prof.bound.Milliseconds()*9/10 && l.rng.IntN(10) == 0 {
		at = edge // the first moment of a window
	}
	e := event{ID: id, Key: "k" + strconv.Itoa(l.rng.IntN(keys)), Value: 1 + l.rng.Int64N(100), At: at}
	if l.rng.IntN(broken) == 0 {
		l.send(ctx, &kgo.Record{Topic: l.topic(topicIn), Partition: p, Value: []byte("broken " + strconv.FormatInt(id, 10))})
		return
	}
	l.event(ctx, topicIn, p, e)
	if id%4 == 0 {
		l.event(ctx, topicKeyed, -1, e)
	}
	if id%100 == 0 {
		l.alarm(ctx, time.Now().Add(time.Duration(l.rng.IntN(1000))*time.Millisecond))
	}
}

// alarm sends a record that sets a wall-clock timer.
func (l *load) alarm(ctx context.Context, due time.Time) {
	id := l.next
	l.next++
	l.event(ctx, topicKeyed, -1, event{ID: id, Key: fmt.Sprintf("alarm-%d", id), Due: due.UnixMilli()})
}

func (l *load) event(ctx context.Context, topic string, p int32, e event) {
	b, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	l.send(ctx, &kgo.Record{Topic: l.topic(topic), Partition: p, Key: []byte(e.Key), Value: b})
}

func (l *load) send(_ context.Context, r *kgo.Record) {
	l.cl.Produce(context.Background(), r, func(r *kgo.Record, err error) {
		if err != nil {
			go l.failed(fmt.Errorf("send to %s: %w", r.Topic, err))
		}
	})
}

func (l *load) failed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
}

func (l *load) pace(rate int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate = rate
}

// spread sends to this many partitions of each topic from now on, by a client that knows them.
func (l *load) spread(ctx context.Context, brokers []string, parts int32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.cl.Flush(ctx); err != nil {
		return err
	}
	l.cl.Close()
	l.parts = parts
	return l.connect(brokers)
}

func (l *load) pause(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = on
}

// alarms sends n alarms for the same time.
func (l *load) alarms(ctx context.Context, n int, due time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range n {
		l.alarm(ctx, due)
	}
}

// last sends a record of far ahead to every partition, so that all windows before it close.
func (l *load) last(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.parts {
		l.event(ctx, topicIn, p, event{ID: l.next, Key: "last-" + strconv.Itoa(int(p)), Value: 1, At: base + farAhead})
		l.next++
	}
}

// probe sends one more record of every key, whose results show the state that the last processes have left.
func (l *load) probe(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k := range keys {
		e := event{ID: l.next, Key: "k" + strconv.Itoa(k), Value: 1, At: base + farAhead}
		l.next++
		l.event(ctx, topicIn, int32(k)%l.parts, e)
		l.event(ctx, topicKeyed, -1, e)
	}
}

// flush waits until everything is in the topics.
func (l *load) flush(ctx context.Context) error {
	if err := l.cl.Flush(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
