package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kafka/kafkatest"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
)

// copier is the smallest engine: it copies records, in epochs of a few milliseconds, and begins anew when it must.
type copier struct {
	v   env
	s   *session
	ctx context.Context

	mu   sync.Mutex
	out  []sink.Record
	at   map[source.Partition]source.Position
	dead error
}

func (c *copier) Assigned(ctx context.Context, parts []source.Partition) {
	committed, err := c.s.Committed(ctx, parts)
	if err == nil {
		start := map[source.Partition]*source.Position{}
		for _, p := range parts {
			start[p] = nil
			if at, ok := committed[p]; ok {
				start[p] = &at.Position
			}
		}
		_, err = c.s.Start(ctx, start)
	}
	if err != nil {
		c.mu.Lock()
		c.dead = err
		c.mu.Unlock()
	}
}

func (c *copier) Revoked(_ context.Context, parts []source.Partition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch()
}

func (c *copier) Lost([]source.Partition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = connect.ErrFenced
}

func (c *copier) Deliver(b source.Batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range b.Records {
		c.out = append(c.out, sink.Record{Stream: c.v.name("out"), Partition: b.Partition.Index, Key: []byte(b.Partition.Stream),
			Value: append([]byte(nil), r.Value...), Time: r.Time})
	}
	c.at[b.Partition] = b.Next
	b.Release()
}

func (c *copier) Room() int64 { return 1 << 20 }

// epoch commits what there is; the lock is held.
func (c *copier) epoch() {
	if c.dead != nil || len(c.at) == 0 {
		return
	}
	err := func() error {
		if err := c.s.Begin(); err != nil {
			return err
		}
		if err := c.s.Produce(c.ctx, c.out); err != nil {
			return err
		}
		if _, err := c.s.Flush(c.ctx); err != nil {
			return err
		}
		var at []connect.PositionCommit
		for p, pos := range c.at {
			at = append(at, connect.PositionCommit{Partition: p, Next: pos})
		}
		return c.s.Commit(c.ctx, at)
	}()
	if err != nil {
		c.dead = err
		c.s.Abort(c.ctx)
	}
	c.out, c.at = nil, map[source.Partition]source.Position{}
}

// live copies until ctx ends, with as many sessions as it takes. How it ends is up to the caller: with a leave, or not.
func live(ctx context.Context, v env, app connect.App, leave func() bool, errs chan<- error) {
	for ctx.Err() == nil {
		s, err := Cluster{Brokers: v.addrs, Profile: Latency}.Open(ctx, app)
		if err != nil {
			if ctx.Err() == nil {
				errs <- err
			}
			return
		}
		c := &copier{v: v, s: s.(*session), ctx: context.WithoutCancel(ctx), at: map[source.Partition]source.Position{}}
		runCtx, cancel := context.WithCancel(ctx)
		ran := make(chan error, 1)
		go func() { ran <- s.Run(runCtx, c) }()
		tick := time.NewTicker(10 * time.Millisecond)
		alive := true
		var end error
		for alive {
			select {
			case end = <-ran:
				alive = false
			case <-tick.C:
				c.mu.Lock()
				c.epoch()
				alive = c.dead == nil
				c.mu.Unlock()
			}
		}
		tick.Stop()
		cancel()
		if end == nil && ctx.Err() == nil {
			end = <-ran
		}
		if c.mu.Lock(); c.dead == nil && end == nil && leave() {
			c.epoch()
			_ = s.Leave(context.Background())
		}
		c.mu.Unlock()
		s.Close(context.Background())
		if end != nil && !errors.Is(end, connect.ErrFenced) {
			errs <- end
			return
		}
		for _, expected := range []error{connect.ErrFenced, connect.ErrRetry, connect.ErrUnknown} {
			if errors.Is(c.dead, expected) {
				c.dead = nil
			}
		}
		if c.dead != nil && ctx.Err() == nil {
			errs <- c.dead
			return
		}
	}
}

// churn runs three instances on two co-partitioned inputs, and lets them leave, vanish and meet their own successors all
// the time. Every record is copied exactly once.
func churn(t *testing.T, v env) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	const partitions = 6
	v.topics(t, map[string]int32{"in": partitions, "too": partitions, "out": partitions})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	app := func(slot int) connect.App {
		a := v.app("i" + strconv.Itoa(slot))
		a.Static = slot > 0
		a.Sources = append(a.Sources, connect.SourceSpec{Name: v.name("too")})
		a.Groups = [][]string{{v.name("in"), v.name("too")}}
		a.Internal = nil
		return a
	}
	errs := make(chan error, 100)
	var wg sync.WaitGroup
	stops := make([]context.CancelFunc, 3)
	var leave sync.Map
	startSlot := func(slot int) {
		c, stop := context.WithCancel(ctx)
		stops[slot] = stop
		wg.Go(func() {
			live(c, v, app(slot), func() bool { l, _ := leave.Load(slot); return l == true }, errs)
		})
	}
	for slot := range stops {
		startSlot(slot)
	}

	writer, err := kgo.NewClient(kgo.SeedBrokers(v.addrs...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	defer writer.Close()
	sent := 0
	next := map[source.Partition]uint32{}
	until := time.Now().Add(12 * time.Second)
	act := time.NewTicker(700 * time.Millisecond)
	defer act.Stop()
	write := time.NewTicker(20 * time.Millisecond)
	defer write.Stop()
	actions := 0
	for time.Now().Before(until) {
		select {
		case err := <-errs:
			require.NoError(t, err)
		case <-write.C:
			var recs []*kgo.Record
			for range 20 {
				p := source.Partition{Stream: []string{v.name("in"), v.name("too")}[rnd.IntN(2)], Index: int32(rnd.IntN(partitions))}
				recs = append(recs, &kgo.Record{Topic: p.Stream, Partition: p.Index, Value: binary.BigEndian.AppendUint32(nil, next[p])})
				next[p]++
			}
			require.NoError(t, writer.ProduceSync(ctx, recs...).FirstErr())
			sent += len(recs)
		case <-act.C:
			actions++
			slot := rnd.IntN(len(stops))
			switch rnd.IntN(3) {
			case 0: // it leaves, and comes back
				leave.Store(slot, true)
				stops[slot]()
			case 1: // it vanishes: its last epoch is lost, its place stays until the session ends or it is back
				leave.Store(slot, false)
				stops[slot]()
			case 2: // its successor starts while it still works
				leave.Store(slot, false)
				defer stops[slot]()
				old := stops[slot]
				time.AfterFunc(300*time.Millisecond, old)
			}
			startSlot(slot)
		}
	}

	if copied, err := kafkatest.Consume(ctx, v.addrs, v.name("out"), sent); err != nil {
		for len(errs) > 0 {
			t.Log("an instance ended:", <-errs)
		}
		stacks := make([]byte, 1<<20)
		for g := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
			if strings.Contains(g, "*session)") || strings.Contains(g, "*copier)") {
				t.Log(g)
			}
		}
		for _, r := range copied {
			next[source.Partition{Stream: string(r.Key), Index: r.Partition}]--
		}
		require.NoError(t, err, "records are missing: %v", next)
	}
	for _, stop := range stops {
		stop()
	}
	cancel()
	wg.Wait()
	t.Logf("%d records, %d actions", sent, actions)
	select {
	case err := <-errs:
		require.NoError(t, err)
	default:
	}
	// All that is there, not only as many as were sent.
	ctx = testContext(t)
	require.NoError(t, kafkatest.Produce(ctx, v.addrs, kafkatest.Record{Topic: v.name("out"), Partition: 0, Value: []byte("end")}))
	out, err := kafkatest.Consume(ctx, v.addrs, v.name("out"), sent+1)
	require.NoError(t, err)
	assert.Equal(t, sent+1, len(out), "doubled")
	seen := map[source.Partition]uint32{}
	for _, r := range out {
		if string(r.Value) == "end" {
			continue
		}
		p := source.Partition{Stream: string(r.Key), Index: r.Partition}
		require.Equal(t, seen[p], binary.BigEndian.Uint32(r.Value), "%v: lost, doubled or out of order", p)
		seen[p]++
	}
	assert.Equal(t, next, seen)
}
