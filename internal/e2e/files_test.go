package e2e_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kafka/kafkatest"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

// Files, then a topic. The topic holds all orders, those in the files as well: what is read twice, or not at all, shows in
// the sums.

// archived is the number of orders of each partition that are in the files, too.
const archived = 60

// archive are those orders as lines, in the order of their times, in four files.
func (s *shop) archive(t *testing.T) fstest.MapFS {
	old := slices.Clone(s.all[:3*archived])
	slices.SortStableFunc(old, func(a, b order) int { return cmp.Compare(a.At, b.At) })
	fsys := fstest.MapFS{"2024/notes.txt": {Data: []byte("not an order")}, "2024/orders-9.jsonl": {Mode: fs.ModeDir}}
	for i := range 4 {
		var lines bytes.Buffer
		for _, o := range old[i*len(old)/4 : (i+1)*len(old)/4] {
			lines.Write(append(encode(t, o), '\n'))
		}
		fsys[fmt.Sprintf("2024/orders-%d.jsonl", i)] = &fstest.MapFile{Data: lines.Bytes()}
	}
	return fsys
}

func cutAtOffsets() source.Option {
	at := map[int32]source.Position{}
	for p := range int32(3) {
		at[p] = source.At(archived)
	}
	return source.StartAtPositions(at)
}

// fromFiles is the topology of totals, with files before the topic unless there are none.
func fromFiles(b *broker, fsys fs.FS, updates, finals string, opts ...source.Option) *stream.Topology {
	src := source.Kafka(b.name("orders"), codec.JSON[order](), opts...)
	if fsys != nil {
		src = source.Files(fsys, "2024/orders-*.jsonl", codec.JSON[order]()).Then(src)
	}
	t := stream.New("totals")
	w := t.From(src).
		Filter(func(o order) bool { return o.Amount > 0 }).
		Map(func(o order) order { o.Amount *= 100; return o }).
		EventTime(orderTime, stream.Watermark{OutOfOrder: 30 * time.Second}). // partitions of a shop drift apart
		KeyBy(func(o order) string { return o.User }).
		Window(window.Tumbling{Size: size}).
		Fold("totals", (*tally).add)
	result := func(user string, s window.Span, a tally) total {
		return total{user, s.From, a.N, a.Sum, s.Revision, s.Final}
	}
	w.OnUpdate(result).To(sink.Kafka(b.name(updates), codec.JSON[total]()))
	w.OnClose(result).To(sink.Kafka(b.name(finals), codec.JSON[total]()))
	return t
}

// filled is a broker with a topic that holds all orders of a shop.
func filled(t *testing.T, seed uint64, opts ...kfake.Opt) (*broker, *shop, time.Time) {
	topics := totalsTopics()
	topics["updates-2"], topics["finals-2"] = 2, 2
	b, s := start(t, topics, opts...), newShop(seed)
	cut := time.Now().Add(-time.Hour)
	dated := func(recs []kafkatest.Record, at time.Time) []kafkatest.Record {
		for i := range recs {
			recs[i].Time = at
		}
		return recs
	}
	b.write(t, dated(s.orders(t, archived), cut.Add(-time.Minute))...)
	b.write(t, dated(s.orders(t, 60), cut)...)
	b.write(t, dated(s.end(t), cut.Add(time.Minute))...)
	return b, s, cut
}

// What is read from files, and then from the topic where they end, gives what is given by the topic alone.
func TestFilesThenTopic(t *testing.T) {
	t.Parallel()
	for _, way := range []struct {
		name string
		conf func(*stream.Config)
		time bool
	}{
		{"exactly once", func(c *stream.Config) {}, false},
		{"in memory, cut at a time", func(c *stream.Config) { c.Exchange = stream.InMemory }, true},
		{"at least once, cut at a time", func(c *stream.Config) { c.Guarantee = connect.AtLeastOnce }, true},
		{"at most once", func(c *stream.Config) { c.Guarantee = connect.AtMostOnce }, false},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			b, s, cut := filled(t, 31)
			at := cutAtOffsets()
			if way.time {
				at = source.StartAtTime(cut)
			}
			dir := t.TempDir()
			in := run(t, fromFiles(b, s.archive(t), "updates", "finals", at, source.EndAtNow()), b.config(dir, way.conf))
			require.NoError(t, in.wait(t))
			s.check(t, b, true)
			require.Len(t, in.log.find("a topic goes on where its files end"), 3)

			topic := run(t, fromFiles(b, nil, "updates-2", "finals-2", source.EndAtNow()), b.config(t.TempDir(), way.conf, func(c *stream.Config) { c.AppID = b.name("alone") }))
			require.NoError(t, topic.wait(t))
			s.checkIn(t, b, "updates-2", "finals-2", true)

			// The files are not needed any more.
			in = run(t, fromFiles(b, fstest.MapFS{}, "updates", "finals", at), b.config(dir, way.conf))
			b.write(t, s.record(t, 1, order{"end", 1, 1_000_000_001}))
			s.all = append(s.all, order{"end", 1, 1_000_000_001})
			s.check(t, b, true)
			in.stop(t)
		})
	}
}

// refuse answers the first commit in a transaction for which when is true as a broker does that has lost its mind. The
// instance drops what it has and goes on from the last commit, as after a crash.
func refuse(b *broker, when func(p *kmsg.TxnOffsetCommitRequestTopicPartition) bool) (refused *atomic.Bool) {
	refused = &atomic.Bool{}
	b.fake.Cluster.ControlKey(int16(kmsg.TxnOffsetCommit), func(r kmsg.Request) (kmsg.Response, error, bool) {
		b.fake.Cluster.KeepControl()
		req := r.(*kmsg.TxnOffsetCommitRequest)
		resp := req.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
		hit := false
		for i := range req.Topics {
			rt := kmsg.NewTxnOffsetCommitResponseTopic()
			rt.Topic, rt.TopicID = req.Topics[i].Topic, req.Topics[i].TopicID
			for j := range req.Topics[i].Partitions {
				p := &req.Topics[i].Partitions[j]
				hit = hit || p.Metadata != nil && when(p)
				rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.UnknownServerError.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		if !hit || refused.Swap(true) {
			return nil, nil, false
		}
		return resp, nil, true
	})
	return refused
}

// A failure at any place, in the files or where they end, changes nothing.
func TestFilesAndFailures(t *testing.T) {
	t.Parallel()
	inFiles := func(p *kmsg.TxnOffsetCommitRequestTopicPartition) bool {
		return strings.HasPrefix(*p.Metadata, "files ")
	}
	for name, when := range map[string]func(p *kmsg.TxnOffsetCommitRequestTopicPartition) bool{
		"in the files": func(p *kmsg.TxnOffsetCommitRequestTopicPartition) bool { return p.Partition == 0 && inFiles(p) },
		"in the second half": func(p *kmsg.TxnOffsetCommitRequestTopicPartition) bool {
			return p.Partition == 0 && strings.HasPrefix(*p.Metadata, "files file:2")
		},
		"when the files are read": func(p *kmsg.TxnOffsetCommitRequestTopicPartition) bool {
			return p.Partition == 0 && p.Offset >= archived
		},
		"when the others follow": func(p *kmsg.TxnOffsetCommitRequestTopicPartition) bool {
			return p.Partition == 2 && p.Offset >= archived
		},
		"of those that wait": func(p *kmsg.TxnOffsetCommitRequestTopicPartition) bool { return p.Partition == 1 && inFiles(p) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, s, _ := filled(t, 32, kfake.NumBrokers(1))
			refused := refuse(b, when)
			half := &broken{FS: s.archive(t)}
			half.name.Store("2024/orders-2.jsonl")
			in := run(t, fromFiles(b, half, "updates", "finals", cutAtOffsets()), b.config(t.TempDir()))
			in.log.wait(t, "cannot read the files before a topic")
			b.read(t, "updates", 1) // so something is committed
			half.name.Store("")
			s.check(t, b, true)
			assert.True(t, refused.Load(), "nothing failed")
			in.stop(t)
			s.check(t, b, true)
		})
	}
}

// broken is a file system of which one file cannot be opened.
type broken struct {
	fs.FS
	name atomic.Value
}

var errStale = errors.New("stale file handle")

func (f *broken) Open(name string) (fs.File, error) {
	if name == f.name.Load() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errStale}
	}
	return f.FS.Open(name)
}

func (f *broken) Stat(name string) (fs.FileInfo, error) { return fs.Stat(f.FS, name) }

// Windows close while files are read, although most partitions wait. The instance that reads them leaves in the middle, and
// another one goes on.
func TestFilesMove(t *testing.T) {
	t.Parallel()
	b, s, _ := filled(t, 33)
	half := &broken{FS: s.archive(t)}
	half.name.Store("2024/orders-3.jsonl")
	one, two := pair(t, b, func(b *broker) *stream.Topology { return fromFiles(b, half, "updates", "finals", cutAtOffsets()) }, 6, heartbeats)
	b.read(t, "finals", 1)
	reads, other := one, two
	if len(two.log.find("reading the files before a topic")) > 0 {
		reads, other = two, one
	}
	require.NoError(t, reads.Leave(waitContext(t)))
	require.NoError(t, reads.wait(t))
	assert.Empty(t, one.log.find("a topic goes on where its files end"))
	assert.Empty(t, two.log.find("a topic goes on where its files end"))
	assert.Contains(t, other.log.wait(t, "reading the files before a topic").attrs["from"].String(), "file:3:")
	half.name.Store("")
	s.check(t, b, true)
	other.stop(t)
	s.check(t, b, true)
}

// dynamic: nobody waits for an instance that is gone.
func dynamic(c *stream.Config) { c.Dynamic = true }

// What would leave a gap, or read something twice, stops the application.
func TestFilesRefused(t *testing.T) {
	t.Parallel()
	b, s, cut := filled(t, 34)
	wait := func(fsys fs.FS, dir string, opts ...source.Option) error {
		return run(t, fromFiles(b, fsys, "updates", "finals", opts...), b.config(dir, dynamic)).wait(t)
	}
	two := source.StartAtPositions(map[int32]source.Position{0: source.At(archived), 1: source.At(archived)})
	require.ErrorContains(t, wait(s.archive(t), t.TempDir(), two), "does not say where partition 2 goes on")
	require.ErrorContains(t, wait(fstest.MapFS{}, t.TempDir(), cutAtOffsets()), `no file matches "2024/orders-*.jsonl"`)

	dir, half := t.TempDir(), &broken{FS: s.archive(t)}
	half.name.Store("2024/orders-2.jsonl")
	in := run(t, fromFiles(b, half, "updates", "finals", cutAtOffsets()), b.config(dir, dynamic))
	b.read(t, "updates", 1)
	in.stop(t)
	changed := s.archive(t)
	changed["2024/orders-0b.jsonl"] = &fstest.MapFile{Data: []byte("{}\n")}
	require.ErrorContains(t, wait(changed, dir, cutAtOffsets()), "have changed since the application began to read them")
	require.ErrorContains(t, wait(nil, dir, cutAtOffsets()), "the topology does not read them")

	// The topic has lost what may lie between the files and what is left.
	_, err := b.admin(t).DeleteRecords(t.Context(), kadm.Offsets{b.name("orders"): {1: {Topic: b.name("orders"), Partition: 1, At: archived + 1}}})
	require.NoError(t, err)
	for i, at := range []source.Option{source.StartAtTime(cut), cutAtOffsets()} {
		again := func(c *stream.Config) { c.AppID = b.name(fmt.Sprint("again-", i)) }
		err := run(t, fromFiles(b, s.archive(t), "updates-2", "finals-2", at), b.config(t.TempDir(), again, dynamic)).wait(t)
		require.ErrorIs(t, err, connect.ErrDeleted)
	}
}
