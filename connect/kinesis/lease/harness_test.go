package lease

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
	"github.com/millstream-go/millstream/connect/kinesis/kpl"
	"github.com/millstream-go/millstream/source"
)

// world is a stream, as a test makes it, and the instances that share its shards. Reading a shard is counting: a shard of
// n records has positions 1 to n, which every instance "reads" one a second.
type world struct {
	*testing.T
	server *kinesistest.Server
	app    string
	common string // the table that it has in common with others; "": it has one to itself
	shared bool   // and it knows that: Table.Shared

	mu      sync.Mutex
	shards  []kinesis.Shard
	records map[string]uint64 // in a shard, once it is closed; open ones are endless
	writes  []write
	alarms  []Alarm
	lines   []*line
}

// write is a checkpoint that the table took.
type write struct {
	by, shard, checkpoint string
	counter, sub          int64
}

// scenario runs a test inside a bubble.
func scenario(t *testing.T, o kinesistest.Options, test func(*world)) {
	s, err := kinesistest.Start(o)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, server: s, app: "app", records: map[string]uint64{}}
		defer func() {
			for _, l := range w.lines {
				l.arrive()
			}
		}()
		test(w)
	})
}

func shardID(n int) string { return fmt.Sprintf("shardId-%012d", n) }

// hashes is the i-th of n equal parts.
func hashes(i, n int) kpl.Range {
	at := func(i int) kpl.Hash {
		x := new(big.Int).Lsh(big.NewInt(int64(i)), 128)
		x.Div(x, big.NewInt(int64(n)))
		var h kpl.Hash
		x.FillBytes(h[:])
		return h
	}
	r := kpl.Range{Start: at(i)}
	if i+1 == n {
		for j := range r.End {
			r.End[j] = 0xff
		}
	} else {
		r.End = predecessor(at(i + 1))
	}
	return r
}

// open makes n shards that have these parents, each of which is closed with so many records.
func (w *world) open(n int, records uint64, parents ...string) (ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.shards {
		if slices.Contains(parents, w.shards[i].Shard) {
			w.shards[i].Closed = true
			w.records[w.shards[i].Shard] = records
		}
	}
	for i := range n {
		s := kinesis.Shard{ShardID: kinesis.ShardID{Stream: "s", Shard: shardID(len(w.shards))}, Parents: parents, Hashes: hashes(i, n)}
		w.shards = append(w.shards, s)
		ids = append(ids, s.Shard)
	}
	return ids
}

func (w *world) list() []kinesis.Shard {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.shards)
}

// instance reads what it is given.
type instance struct {
	*world
	name string
	line *line
	kinesis.Membership
	done   chan struct{}
	cancel context.CancelFunc

	mu    sync.Mutex
	reads map[string]*reading
	lost  []string
	mute  bool // it does not hear that it is asked
}

type reading struct {
	term uint64
	one  chan struct{} // one at a time reads and writes
	at   uint64
}

// line is an instance's connection, which can be cut: what is sent then arrives when the test says so, which the sender does
// not hear of.
type line struct {
	*world
	name  string
	under http.RoundTripper
	mu    sync.Mutex
	cut   bool
	late  chan struct{} // closed when what was sent is to arrive
	dead  bool
}

func (l *line) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	l.owns(r.Header.Get("X-Amz-Target"), body)
	l.mu.Lock()
	if l.cut && l.late == nil {
		l.late = make(chan struct{})
	}
	cut, dead, arrive := l.cut, l.dead, l.late
	l.mu.Unlock()
	switch {
	case dead:
		<-r.Context().Done()
		return nil, r.Context().Err()
	case cut:
		late := r.Clone(context.WithoutCancel(r.Context()))
		late.Body = io.NopCloser(bytes.NewReader(body))
		go func() {
			<-arrive
			if resp, err := l.send(late, body); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		}()
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return l.send(r, body)
}

// send sends, and notes checkpoints that were taken.
func (l *line) send(r *http.Request, body []byte) (*http.Response, error) {
	resp, err := l.under.RoundTrip(r)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".UpdateItem") || !bytes.Contains(body, []byte("#checkpoint = ")) {
		return resp, err
	}
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(answer))
	var out struct {
		Attributes struct {
			LeaseKey, Checkpoint                      struct{ S string }
			LeaseCounter, CheckpointSubSequenceNumber struct{ N json.Number }
		}
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		return nil, err
	}
	a := out.Attributes
	a.LeaseKey.S = strings.TrimPrefix(a.LeaseKey.S, l.table().prefix)
	counter, _ := a.LeaseCounter.N.Int64()
	sub, _ := a.CheckpointSubSequenceNumber.N.Int64()
	l.parents(a.LeaseKey.S)
	l.world.mu.Lock()
	l.writes = append(l.writes, write{l.name, a.LeaseKey.S, a.Checkpoint.S, counter, sub})
	l.world.mu.Unlock()
	return resp, nil
}

// owns checks that a request, if it is about one row, is about one of this application's. Where applications have instances of the
// same names, which they have not outside of tests, one that does not share its table may look at a row to see that it is none of its own.
func (l *line) owns(action string, body []byte) {
	var in struct {
		Key, Item struct{ LeaseKey struct{ S string } }
	}
	assert.NoError(l, json.Unmarshal(body, &in))
	switch key := cmp.Or(in.Key.LeaseKey.S, in.Item.LeaseKey.S); {
	case key == "":
	case l.shared:
		assert.Truef(l, strings.HasPrefix(key, sharedPrefix(l.app, "s")), "%s of %s: %s", l.name, l.app, body)
	case !strings.HasSuffix(action, ".GetItem"):
		assert.NotContainsf(l, key, "/", "%s of %s: %s", l.name, l.app, body)
	}
}

// parents checks, at the first checkpoint of a shard, that its parents were read to their ends.
func (l *line) parents(shard string) {
	var parents []string
	l.world.mu.Lock()
	known := slices.ContainsFunc(l.writes, func(x write) bool { return x.shard == shard })
	for _, s := range l.shards {
		if s.Shard == shard {
			parents = s.Parents
		}
	}
	l.world.mu.Unlock()
	if known {
		return
	}
	t := l.table()
	for _, p := range parents {
		r, found, err := t.lease(context.Background(), p)
		for err != nil { // faults meet the test, too
			r, found, err = t.lease(context.Background(), p)
		}
		assert.True(l, !found || r.ended(), "%s has written a checkpoint of %s, and its parent %s is at %s", l.name, shard, p, r.checkpoint)
	}
}

func (l *line) set(cut, dead bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.dead = cut, dead
}

// arrive lets arrive what was sent while the line was cut.
func (l *line) arrive() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.late != nil {
		close(l.late)
		l.late = nil
	}
}

func (w *world) client(rt http.RoundTripper) *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{Region: "local", BaseEndpoint: aws.String(w.server.URL()), HTTPClient: &http.Client{Transport: rt},
		Credentials: credentials.NewStaticCredentialsProvider("any", "any", "")})
}

// join starts an instance.
func (w *world) join(name string, change ...func(*Table)) *instance {
	i := &instance{world: w, name: name, line: &line{world: w, name: name, under: w.server.HTTPClient().Transport}, done: make(chan struct{}), reads: map[string]*reading{}}
	w.lines = append(w.lines, i.line)
	table := Table{Client: w.client(i.line), OnAlarm: func(a Alarm) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.alarms = append(w.alarms, a)
	}}
	if w.common != "" {
		table.Name, table.Shared = func(string, string) string { return w.common }, w.shared
	}
	for _, f := range change {
		f(&table)
	}
	m, err := table.Join(w.Context(), kinesis.Member{App: w.app, Instance: name, Incarnation: "1", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(w, err)
	i.Membership = m
	w.within(5*time.Minute, "the shards are told of", func() bool { return m.Found(w.Context(), w.list()) == nil })
	ctx, cancel := context.WithCancel(w.Context())
	i.cancel = cancel
	go i.run(ctx)
	return i
}

// sequence numbers are above 2^128.
func record(n uint64) source.Position { return source.Position{High: 1, Low: n, Sub: 1} }

// run reads a record of each shard a second, and checkpoints it.
func (i *instance) run(ctx context.Context) {
	defer close(i.done)
	var stepping sync.WaitGroup // a checkpoint may take long; that a lease is lost must be heard meanwhile
	defer stepping.Wait()
	idle := make(chan struct{}, 1)
	idle <- struct{}{}
	ticker, find := time.NewTicker(time.Second), time.NewTicker(20*time.Second)
	defer ticker.Stop()
	defer find.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case events, ok := <-i.Events():
			if !ok {
				return
			}
			for _, e := range events {
				i.take(ctx, e)
			}
		case <-ticker.C:
			select {
			case <-idle:
				stepping.Go(func() {
					i.step(ctx)
					idle <- struct{}{}
				})
			default:
			}
		case <-find.C:
			_ = i.Found(ctx, i.list()) // again in a while
		}
	}
}

func (i *instance) take(ctx context.Context, e kinesis.LeaseEvent) {
	i.mu.Lock()
	r := i.reads[e.Shard]
	switch e.Change {
	case kinesis.Taken:
		assert.Nil(i, r, "%s has %s already", i.name, e.Shard)
		assert.NotNil(i, e.At)
		i.reads[e.Shard] = &reading{e.Term, make(chan struct{}, 1), e.At.Low}
	case kinesis.Lost:
		if r != nil && r.term == e.Term {
			delete(i.reads, e.Shard)
			i.lost = append(i.lost, e.Shard)
		}
	case kinesis.Asked:
		if r != nil && r.term == e.Term && !i.mute {
			delete(i.reads, e.Shard)
			i.mu.Unlock()
			r.one <- struct{}{}
			i.write(ctx, e.Shard, r)
			<-r.one
			_ = i.Release(ctx, []kinesis.ShardID{e.ShardID})
			return
		}
	}
	i.mu.Unlock()
}

// write checkpoints, and forgets a shard that was lost.
func (i *instance) write(ctx context.Context, shard string, r *reading) bool {
	i.world.mu.Lock()
	end, closed := i.records[shard]
	i.world.mu.Unlock()
	next := record(r.at)
	if closed && r.at >= end {
		next = connect.Ended
		if err := i.Found(ctx, i.list()); err != nil {
			return false
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err := i.Checkpoint(ctx, []kinesis.Checkpoint{{ShardID: kinesis.ShardID{Stream: "s", Shard: shard}, Next: next, Term: r.term}})
	if errors.Is(err, kinesis.ErrLeaseLost) || err == nil && next == connect.Ended {
		i.mu.Lock()
		if i.reads[shard] == r {
			delete(i.reads, shard)
			if err != nil {
				i.lost = append(i.lost, shard)
			}
		}
		i.mu.Unlock()
	}
	return err == nil
}

func (i *instance) step(ctx context.Context) {
	i.mu.Lock()
	reads := map[string]*reading{}
	for shard, r := range i.reads {
		reads[shard] = r
	}
	i.mu.Unlock()
	var wait sync.WaitGroup
	for shard, r := range reads {
		wait.Go(func() {
			r.one <- struct{}{}
			defer func() { <-r.one }()
			i.world.mu.Lock()
			end, closed := i.records[shard]
			i.world.mu.Unlock()
			if r.at++; closed {
				r.at = min(r.at, end)
			}
			i.write(ctx, shard, r)
		})
	}
	wait.Wait()
}

func (i *instance) has() (shards []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for s := range i.reads {
		shards = append(shards, s)
	}
	slices.Sort(shards)
	return shards
}

// leave ends an instance in good order.
func (i *instance) leave() {
	i.cancel()
	<-i.done
	require.NoError(i, i.Close(i.Context()))
}

// kill ends an instance so that nothing of it is heard any more.
func (i *instance) kill() {
	i.cancel()
	i.line.set(false, true)
	<-i.done
	ctx, cancel := context.WithTimeout(i.Context(), time.Millisecond)
	defer cancel()
	_ = i.Close(ctx) // ends its goroutines; what it sends goes nowhere
}

// within waits until a condition holds, of the bubble's time.
func (w *world) within(d time.Duration, what string, cond func() bool) {
	w.Helper()
	end := time.Now().Add(d)
	for !cond() {
		if time.Now().After(end) {
			require.Fail(w, "after "+d.String()+" still not: "+what)
		}
		<-time.After(100 * time.Millisecond)
	}
}

// pass lets time pass.
func (w *world) pass(d time.Duration) { <-time.After(d) }

// table is the table as the test sees it.
func (w *world) table() *table {
	t := &table{client: w.client(w.server.HTTPClient().Transport), name: cmp.Or(w.common, tableName(w.app, "s")), patience: time.Minute}
	if w.shared {
		t.prefix = sharedPrefix(w.app, "s")
	}
	return t
}

// rows are the leases in it.
func (w *world) rows() map[string]row {
	items, err := w.table().scan(w.Context())
	for err != nil { // faults meet the test, too
		items, err = w.table().scan(w.Context())
	}
	rows := map[string]row{}
	for _, it := range items {
		if entity(it) == entityLease {
			r, err := decode(it)
			require.NoError(w, err)
			rows[r.key] = r
		}
	}
	return rows
}

// verify checks that checkpoints and counters of a shard went forward only, in the order in which the table took them, and that none
// follows its end.
func (w *world) verify() {
	w.mu.Lock()
	defer w.mu.Unlock()
	byShard := map[string][]write{}
	for _, x := range w.writes {
		byShard[x.shard] = append(byShard[x.shard], x)
	}
	for shard, list := range byShard {
		for i := 1; i < len(list); i++ {
			a, b := list[i-1], list[i]
			require.Less(w, a.counter, b.counter, "%s: %v and %v", shard, a, b)
			if a.checkpoint == shardEnd {
				require.Equal(w, shardEnd, b.checkpoint, "%s: %v after %v", shard, b, a)
				continue
			}
			if b.checkpoint == shardEnd {
				continue
			}
			x, _ := new(big.Int).SetString(a.checkpoint, 10)
			y, _ := new(big.Int).SetString(b.checkpoint, 10)
			require.LessOrEqual(w, x.Cmp(y), 0, "%s: %v after %v", shard, b, a)
		}
	}
	require.NotEmpty(w, byShard)
}
