package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
)

// Each answer that a commit can meet, and what the engine is told.
func TestCommitAnswers(t *testing.T) {
	const anything = "\x00"
	for name, tc := range map[string]struct {
		key    kmsg.Key
		err    *kerr.Error
		count  int
		is     []error // none, with text "": the commit succeeds
		isNot  []error
		text   string
		undone bool // the position must not have moved
	}{
		"markers in flight":        {key: kmsg.TxnOffsetCommit, err: kerr.ConcurrentTransactions, count: 3},
		"join window":              {key: kmsg.TxnOffsetCommit, err: kerr.IllegalGeneration, count: 3},
		"coordinator loading":      {key: kmsg.TxnOffsetCommit, err: kerr.CoordinatorLoadInProgress, count: 2},
		"removed from the group":   {key: kmsg.TxnOffsetCommit, err: kerr.UnknownMemberID, is: []error{connect.ErrFenced}, undone: true},
		"instance replaced":        {key: kmsg.TxnOffsetCommit, err: kerr.FencedInstanceID, is: []error{connect.ErrFenced}, undone: true},
		"producer replaced":        {key: kmsg.TxnOffsetCommit, err: kerr.InvalidProducerEpoch, is: []error{connect.ErrFenced}, undone: true},
		"abortable":                {key: kmsg.TxnOffsetCommit, err: kerr.TransactionAbortable, is: []error{connect.ErrRetry}, undone: true},
		"input deleted":            {key: kmsg.TxnOffsetCommit, err: kerr.UnknownTopicOrPartition, isNot: []error{connect.ErrRetry, connect.ErrFenced, connect.ErrUnknown}, text: "an input was deleted", undone: true},
		"metadata too large":       {key: kmsg.TxnOffsetCommit, err: kerr.OffsetMetadataTooLarge, isNot: []error{connect.ErrRetry}, text: "offset.metadata.max.bytes", undone: true},
		"no permission":            {key: kmsg.TxnOffsetCommit, err: kerr.GroupAuthorizationFailed, isNot: []error{connect.ErrRetry}, text: `consumer group "copy": it needs READ`, undone: true},
		"end: markers in flight":   {key: kmsg.EndTxn, err: kerr.ConcurrentTransactions, count: 2},
		"end: not our state":       {key: kmsg.EndTxn, err: kerr.InvalidTxnState, is: []error{connect.ErrUnknown}, undone: true},
		"end: replaced":            {key: kmsg.EndTxn, err: kerr.ProducerFenced, is: []error{connect.ErrUnknown, connect.ErrFenced}, undone: true},
		"end: broker error":        {key: kmsg.EndTxn, err: kerr.UnknownServerError, is: []error{connect.ErrUnknown}, undone: true},
		"end: abortable":           {key: kmsg.EndTxn, err: kerr.TransactionAbortable, is: []error{connect.ErrRetry}, undone: true},
		"a record is refused":      {key: kmsg.Produce, err: kerr.InvalidTimestamp, is: []error{connect.ErrRetry}, text: anything, undone: true},
		"a record is fenced":       {key: kmsg.Produce, err: kerr.InvalidProducerEpoch, is: []error{connect.ErrFenced}, undone: true},
		"a leader moves meanwhile": {key: kmsg.Produce, err: kerr.NotLeaderForPartition, count: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			v := fakeEnv(t)
			v.topics(t, map[string]int32{"in": 1, "out": 1})
			s, e := v.open(t, v.app("a")), newEngine()
			run(t, s, e)
			in := v.part("in", 0)
			e.until(t, "assignment", e.has(in))
			require.NoError(t, v.commit(ctx, s, "before", next(in, 1)))

			h := v.fake.Cluster.Fault(kfake.Fault{Keys: []kmsg.Key{tc.key}, Err: tc.err, Count: tc.count})
			err := v.commit(ctx, s, "it", next(in, 2))
			assert.Positive(t, h.Hits(), "the fault was not met")
			if len(tc.is) == 0 && tc.text == "" {
				require.NoError(t, err)
				assert.Equal(t, []string{"before", "it"}, v.values(t, "out", 2))
				return
			}
			require.Error(t, err)
			for _, want := range tc.is {
				assert.ErrorIs(t, err, want)
			}
			for _, not := range tc.isNot {
				assert.NotErrorIs(t, err, not)
			}
			if tc.text != anything {
				assert.ErrorContains(t, err, tc.text)
			}
			s.Abort(ctx)
			s.Close(ctx)
			if tc.undone {
				s2 := v.open(t, v.app("a"))
				committed, err := s2.Committed(ctx, []source.Partition{in})
				require.NoError(t, err)
				assert.Equal(t, source.At(1), committed[in].Position)
			}
		})
	}
}

// The answers to EndTxn never come, but the transaction is committed: the outcome is unknown, and reading back tells.
func TestLostAnswerOfEnd(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	v := fakeEnv(t)
	v.topics(t, map[string]int32{"in": 1, "out": 1})
	dial := func(ctx context.Context, network, host string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, host)
		return &deafConn{Conn: conn}, err
	}
	s, e := openCluster(t, Cluster{Brokers: v.addrs, Dialer: dial}, v.app("a")), newEngine()
	run(t, s, e)
	in := v.part("in", 0)
	e.until(t, "assignment", e.has(in))
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel() // the end of the caller's context does not end the wait
	err := v.commit(short, s, "it", next(in, 5))
	require.ErrorIs(t, err, connect.ErrUnknown)
	s.Close(ctx)

	s2 := v.open(t, v.app("a"))
	committed, err := s2.Committed(ctx, []source.Partition{in})
	require.NoError(t, err)
	assert.Equal(t, connect.Committed{Position: source.At(5), Metadata: "m"}, committed[in])
	assert.Equal(t, []string{"it"}, v.values(t, "out", 1))
}

// deafConn breaks when the answer to an EndTxn request arrives.
type deafConn struct {
	net.Conn
	asked atomic.Bool
}

func (c *deafConn) Write(b []byte) (int, error) {
	if len(b) > 6 && binary.BigEndian.Uint16(b[4:]) == uint16(kmsg.EndTxn) {
		c.asked.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *deafConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.asked.Load() {
		_ = c.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

func TestHangingTransaction(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	v := fakeEnv(t)
	v.topics(t, map[string]int32{"in": 1, "out": 1})
	s, e := v.open(t, v.app("a")), newEngine()
	in := []source.Partition{v.part("in", 0)}
	run(t, s, e)
	e.until(t, "assignment", e.has(in...))
	require.NoError(t, v.commit(ctx, s, "x", next(in[0], 1)))

	other := v.open(t, v.app("b"))
	require.NoError(t, other.Begin())
	require.NoError(t, other.Produce(ctx, []sink.Record{{Stream: "out", Partition: 0, Value: []byte("open")}}))
	_, err := other.Flush(ctx)
	require.NoError(t, err)
	require.NoError(t, s.hanging(ctx, in), "an open transaction of the application may still decide")
	other.Abort(ctx)

	v.fake.Cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetFetch}, Topic: "in", Err: kerr.UnstableOffsetCommit, Count: -1})
	_, err = s.Committed(ctx, in)
	require.ErrorContains(t, err, "hanging transaction")
	assert.ErrorContains(t, err, "kafka-transactions.sh")
}

// The last records and markers of a changelog were compacted away, so that no fetch ever passes them.
func TestRestoreOfCompactedEnd(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	v := fakeEnv(t)
	v.topics(t, map[string]int32{"in": 1, "out": 1})
	s := v.open(t, v.app("a"))
	log := v.part("copy-changelog", 0)
	v.produce(t, "copy-changelog", 0, 0, 5)
	var fetches atomic.Int32
	stable := int64(3)
	v.fake.Cluster.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		v.fake.Cluster.KeepControl()
		req := r.(*kmsg.FetchRequest)
		resp := req.ResponseKind().(*kmsg.FetchResponse)
		if fetches.Add(1) == 30 {
			stable = 5 // a transaction was open until now
		}
		for _, t := range req.Topics {
			rt := kmsg.NewFetchResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewFetchResponseTopicPartition()
				rp.Partition, rp.HighWatermark, rp.LastStableOffset = p.Partition, 5, stable
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		<-time.After(50 * time.Millisecond) // nothing else asks this cluster meanwhile; its SleepControl has a data race
		return resp, nil, true
	})
	began := time.Now()
	pos, err := s.ReadChangelog(ctx, log, source.At(0), func([]source.Record) error { return errors.New("there is nothing") })
	require.NoError(t, err)
	assert.Equal(t, source.At(5), pos)
	assert.GreaterOrEqual(t, time.Since(began), compactedAfter)
	assert.Greater(t, fetches.Load(), int32(30), "the open transaction was waited for")
}

func TestOpenRefusals(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	v := fakeEnv(t, kfake.MaxVersions(kversion.V3_8_0()))
	v.topics(t, map[string]int32{"in": 1, "out": 1})
	_, err := Cluster{Brokers: v.addrs}.Open(ctx, v.app("a"))
	assert.ErrorContains(t, err, "transaction.version")
	app := v.app("a")
	app.Guarantee = connect.AtLeastOnce
	s, err := Cluster{Brokers: v.addrs}.Open(ctx, app)
	require.NoError(t, err, "at-least-once needs no transactions")
	s.Close(ctx)

	app = v.app("a")
	app.CommitEvery = 5 * time.Second
	_, err = Cluster{Brokers: v.addrs}.Open(ctx, app)
	assert.ErrorContains(t, err, "a commit interval of 5s is too long for a session timeout of 6s")
	app = v.app("")
	_, err = Cluster{Brokers: v.addrs}.Open(ctx, app)
	assert.ErrorContains(t, err, "needs an id and an instance name")
	app = v.app("a")
	app.Groups = [][]string{{"in"}, {"in"}}
	_, err = Cluster{Brokers: v.addrs}.Open(ctx, app)
	assert.ErrorContains(t, err, `input "in" is in two groups`)
	app.Groups = nil
	_, err = Cluster{Brokers: v.addrs}.Open(ctx, app)
	assert.ErrorContains(t, err, `source "in" is in no group`)
}

func TestMisuse(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	v := fakeEnv(t)
	v.topics(t, map[string]int32{"in": 1, "out": 1})
	s := v.open(t, v.app("a"))
	assert.Error(t, s.Produce(ctx, nil))
	_, err := s.Flush(ctx)
	assert.Error(t, err)
	assert.Error(t, s.Commit(ctx, nil))
	require.NoError(t, s.Begin())
	assert.Error(t, s.Begin())
	require.NoError(t, s.Produce(ctx, []sink.Record{{Stream: "out", Partition: 7}}))
	assert.ErrorContains(t, s.Commit(ctx, nil), "before Flush")
	_, err = s.Flush(ctx)
	assert.ErrorIs(t, err, connect.ErrRetry, "there is no partition 7")
	s.Abort(ctx)
	s.Close(ctx)
	s.Close(ctx)
	assert.Error(t, s.Run(ctx, newEngine()), "after Close")
}

// A group of another program is not joined.
func TestForeignGroup(t *testing.T) {
	t.Parallel()
	v := fakeEnv(t)
	v.topics(t, map[string]int32{"in": 1, "out": 1})
	foreign := v.foreign(t, "copy", "in")
	require.Eventually(t, func() bool { m, _ := foreign.GroupMetadata(); return m != "" }, 10*time.Second, 10*time.Millisecond)
	s := v.open(t, v.app("a"))
	err := s.Run(testContext(t), newEngine())
	assert.ErrorContains(t, err, `the consumer group "copy" is used by another program`)
}
