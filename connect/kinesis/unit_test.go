package kinesis

import (
	"context"
	"fmt"
	"log/slog"
	"math/big"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kinesis/kpl"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
)

// Sequence numbers survive the way into positions and back, and are ordered as numbers, not as strings.
func TestSequenceNumbers(t *testing.T) {
	most := new(big.Int).Exp(big.NewInt(10), big.NewInt(57), nil)
	draw := rapid.Custom(func(t *rapid.T) *big.Int {
		n := new(big.Int).SetBytes(rapid.SliceOfN(rapid.Byte(), 0, 24).Draw(t, "bytes"))
		return n.Mod(n, most)
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw.Draw(t, "a"), draw.Draw(t, "b")
		p, err := sequence(a.String())
		require.NoError(t, err)
		q, err := sequence(b.String())
		require.NoError(t, err)
		require.Equal(t, a.String(), number(p))
		require.Equal(t, a.Cmp(b), p.Compare(q))
		p.Sub++
		if a.Cmp(b) < 0 {
			require.Negative(t, p.Compare(q))
		}
	})
	for _, bad := range []string{"", "x", "12a", "-1", fmt.Sprintf("%058d", 1)} {
		_, err := sequence(bad)
		require.Error(t, err, bad)
	}
	first, err := sequence("49590338271490256608559692538361571095921575989136588898")
	require.NoError(t, err)
	require.False(t, begins(first))
	require.Negative(t, arrived(time.Now()).Compare(first), "a beginning lies before each record")
}

// Records that were deleted before they were read are noticed where reading goes on from a position of before.
func TestGap(t *testing.T) {
	part := source.Partition{Stream: "s", Index: 1}
	var from, to source.Position
	s := &session{specs: map[string]connect.SourceSpec{"s": {}}, log: slog.New(slog.DiscardHandler)}
	s.app.OnGap = func(p source.Partition, a, b source.Position) { require.Equal(t, part, p); from, to = a, b }
	at := func(n uint64, sub int64) source.Position { return source.Position{High: 1, Low: n, Sub: sub} }
	read := func(next, first source.Position) error {
		from, to = source.Position{}, source.Position{}
		return (&reader{s: s, o: &owned{id: ShardID{"s", "shardId-000000000001"}}, next: next}).gap(first)
	}
	require.NoError(t, read(at(5, 3), at(5, 0)), "the record is there")
	require.NoError(t, read(source.Position{}, at(5, 0)))
	require.NoError(t, read(arrived(time.Now()), at(5, 0)))
	err := read(at(5, 1), at(9, 0))
	require.ErrorIs(t, err, connect.ErrDeleted)
	require.ErrorContains(t, err, "source.OnDeleted")
	s.specs["s"] = connect.SourceSpec{Range: source.Range{Deleted: source.DeletedSkips}}
	require.NoError(t, read(at(5, 1), at(9, 0)))
	require.Equal(t, []source.Position{at(5, 1), at(9, 0)}, []source.Position{from, to})
	s.specs["s"] = connect.SourceSpec{Range: source.Range{Deleted: source.DeletedLatest}}
	require.ErrorIs(t, read(at(5, 1), at(9, 0)), errAhead)
	require.Equal(t, []source.Position{at(5, 1), at(9, 0)}, []source.Position{from, to})
}

// A bucket lets through what its limits allow, and less after a refusal.
func TestBucket(t *testing.T) {
	b, now := bucket{factor: 1}, time.Unix(0, 0)
	took := func(seconds float64, share float64) (n int) {
		for end := now.Add(time.Duration(seconds * float64(time.Second))); now.Before(end); now = now.Add(time.Millisecond) {
			for b.fill(now, share); b.open(); n++ {
				b.records--
				b.bytes -= 100
			}
		}
		return n
	}
	require.InDelta(t, 10_200, took(10, 1), 20)
	require.InDelta(t, 5_000, took(10, 0.5), 120)
	b.refused()
	require.InDelta(t, 700*9.9, took(10, 1), 150)
	require.Positive(t, b.wait(1))
	for range 100 {
		b.taken()
	}
	require.InDelta(t, 1, b.factor, 1e-9)
}

// The shard of a hash is found whatever the map; while there is a hole in it, none is.
func TestShardMap(t *testing.T) {
	list := []Shard{{ShardID: ShardID{"s", "shardId-2"}, Hashes: kpl.Range{Start: kpl.Hash{0x80}, End: kpl.Hash{0xff}}}, {ShardID: ShardID{"s", "shardId-1"}, Hashes: kpl.Range{End: kpl.Hash{0x3f}}},
		{ShardID: ShardID{"s", "shardId-0"}, Closed: true}}
	m := newShardMap(list, nil)
	require.Equal(t, "shardId-1", m.owner(kpl.Hash{0x3f}).id)
	require.Equal(t, "shardId-2", m.owner(kpl.Hash{0x80}).id)
	require.Nil(t, m.owner(kpl.Hash{0x40}))
	m[0].bucket.refused()
	require.InDelta(t, 0.7, newShardMap(list, m)[0].bucket.factor, 1e-9, "what was learnt of a shard stays")
}

func TestKeys(t *testing.T) {
	w := &writer{}
	require.Equal(t, "key", w.partitionKey([]byte("key")))
	require.Equal(t, "ff00", w.partitionKey([]byte{0xff, 0}))
	require.Len(t, w.partitionKey(make([]byte, 300)), 32)
	require.Equal(t, w.partitionKey(make([]byte, 300)), w.partitionKey(make([]byte, 300)))
	w.next = 1
	first := w.partitionKey(nil)
	w.next = 2
	require.NotEqual(t, first, w.partitionKey(nil), "any shard")
	require.Equal(t, []byte{}, data(&sink.Record{}))
	require.Equal(t, "v", string(data(&sink.Record{Value: []byte("v"), Headers: []source.Header{{Key: "other", Value: []byte("x")}}})))
	require.JSONEq(t, `{"reason":{"error":"e","topic":"t"},"value":"dg==","time":"1970-01-01T00:00:01Z"}`,
		string(data(&sink.Record{Value: []byte("v"), Time: 1000, Headers: []source.Header{{Key: "millstream-error", Value: []byte("e")}, {Key: "millstream-topic", Value: []byte("t")}}})))
}

func TestJitter(t *testing.T) {
	for tries := range 100 {
		for range 20 {
			require.LessOrEqual(t, jitter(tries), min(firstWait<<min(tries, 20), longWait)+time.Millisecond)
			require.Positive(t, jitter(tries))
		}
	}
}

// A shard that the stream has forgotten before it was read to its end is missed, whichever others go on.
func TestForgottenShard(t *testing.T) {
	shards := func(ids ...string) (m map[ShardID]Shard) {
		m = map[ShardID]Shard{}
		for _, id := range ids {
			m[ShardID{"s", id}] = Shard{ShardID: ShardID{"s", id}, Parents: []string{"shardId-000", "shardId-001"}}
		}
		return m
	}
	read := source.Position{High: 1, Low: 7}
	latest := false
	join := func(what source.Deleted, kept map[source.Partition]source.Position) error {
		s := &session{c: Streams{Leases: InProcess{}}, alone: true, log: slog.New(slog.DiscardHandler), shards: shards("shardId-001", "shardId-002"), opened: map[ShardID]bool{}, passed: map[ShardID]bool{}, h: keeper{kept: kept},
			specs: map[string]connect.SourceSpec{"s": {Range: source.Range{Deleted: what}}}}
		m, err := s.join(t.Context())
		if err == nil {
			require.NoError(t, m.Close(t.Context()))
			_, latest = s.first(&owned{id: ShardID{"s", "shardId-002"}})
		}
		return err
	}
	first := source.Partition{Stream: "s", Index: 0}
	require.NoError(t, join(source.DeletedFails, nil))
	require.NoError(t, join(source.DeletedFails, map[source.Partition]source.Position{first: connect.Ended}))
	require.ErrorIs(t, join(source.DeletedFails, map[source.Partition]source.Position{first: read}), connect.ErrDeleted)
	require.NoError(t, join(source.DeletedSkips, map[source.Partition]source.Position{first: read}))
	require.False(t, latest, "what follows the shard is read from its beginning")
	require.NoError(t, join(source.DeletedLatest, map[source.Partition]source.Position{first: connect.Ended}))
	require.False(t, latest)
	require.NoError(t, join(source.DeletedLatest, map[source.Partition]source.Position{first: read}))
	require.True(t, latest, "what follows the shard is read from its end")
}

// A task whose restore ends while the session is being closed starts nothing.
func TestStartAfterClose(t *testing.T) {
	s := &session{log: slog.New(slog.DiscardHandler)}
	s.ctx, s.cancel = context.WithCancel(t.Context())
	part := source.Partition{Stream: "s"}
	s.owned = map[source.Partition]*owned{part: {id: ShardID{"s", "shardId-0"}}}
	s.Close(t.Context())
	_, err := s.Start(t.Context(), map[source.Partition]*source.Position{part: {}})
	require.ErrorIs(t, err, errClosed)
	require.Nil(t, s.owned[part].reader)
}

type keeper struct {
	connect.Handler
	kept map[source.Partition]source.Position
}

func (k keeper) Kept([]source.Partition) (map[source.Partition]source.Position, error) {
	return k.kept, nil
}

// Reading that goes on in the middle of an aggregate brings exactly the rest of it.
func TestMiddleOfAnAggregate(t *testing.T) {
	var a kpl.Aggregate
	for i := range 5 {
		a.Add(kpl.Record{Key: "k", Data: []byte{byte(i)}})
	}
	whole := kpl.Range{End: kpl.Hash{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
	for from := range int64(7) {
		s := &session{c: Streams{Observe: func(Event) {}}, log: slog.New(slog.DiscardHandler)}
		pos := source.Position{High: 1, Low: 9}
		r := &reader{s: s, o: &owned{id: ShardID{"s", "shardId-0"}}, hashes: whole, next: source.Position{High: 1, Low: 9, Sub: from}}
		var b source.Batch
		r.unpack(&b, &types.Record{Data: a.Bytes(), PartitionKey: aws.String("k"), SequenceNumber: aws.String("1")}, pos)
		require.Len(t, b.Records, int(max(5-from, 0)))
		for i, rec := range b.Records {
			require.Equal(t, []byte{byte(from) + byte(i)}, rec.Value)
			require.Equal(t, source.Position{High: 1, Low: 9, Sub: from + int64(i)}, rec.Position)
		}
		require.Equal(t, source.Position{High: 1, Low: 9, Sub: max(from, 5)}, r.next)
	}
}

// Numbers that are read one after the other are what each of them is by itself, also between faulty ones.
func TestSequences(t *testing.T) {
	var q sequences
	for _, s := range []string{"49671243584967124358496712435849671243584967124358496712", "49671243584967124358496712435849671243584967124358496713", "1", "", "x",
		"49671243584967124358496712435849671243584967124358496x14", "4967124358x967124358496712435849671243584967124358496714", "49671243584967124358496712435849671243584967124358496714",
		"49671243584967124358496712435849671244000000000000000000", "999999999999999999", "1000000000000000000", "999999999999999999999999999999999999999999999999999999999", "9999999999999999999999999999999999999999999999999999999991"} {
		want, wrong := sequence(s)
		got, err := q.read(s)
		require.Equal(t, wrong == nil, err == nil, s)
		if err == nil {
			require.Equal(t, want, got, s)
		}
	}
}

// A flush waits for what was written before it, not for what others go on writing meanwhile.
func TestFlushWhileOthersWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &writer{c: &Streams{Write: Write{}.withDefaults()}, name: "s", max: 1 << 20, busy: map[string]bool{}, changed: make(chan struct{})}
		write := func(key string) *entry {
			require.NoError(t, w.write(t.Context(), &sink.Record{Key: []byte(key), Partition: -1}))
			return w.queue[len(w.queue)-1]
		}
		acknowledge := func(e *entry) {
			w.mu.Lock()
			w.settle([]*entry{e}, nil)
			w.mu.Unlock()
		}
		a, b := write("a"), write("b")
		done := make(chan error, 1)
		go func() { done <- w.flush(t.Context()) }()
		synctest.Wait()
		later := write("c")
		acknowledge(later)
		acknowledge(b)
		synctest.Wait()
		require.Empty(t, done, "a is not acknowledged")
		write("d")
		acknowledge(a)
		require.NoError(t, <-done)
	})
}
