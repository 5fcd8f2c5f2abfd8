package kafka

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kafka/kafkatest"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
)

// scenarios are what must hold on every broker. They run on the in-process one always, and on a real one if there is one.
var scenarios = map[string]func(*testing.T, env){
	"a record's way":                       wholeWay,
	"rebalance":                            rebalance,
	"a successor fences":                   successorFences,
	"an expelled member is fenced":         expelledIsFenced,
	"positions only":                       positionsOnly,
	"undecided positions are waited for":   undecidedPositions,
	"restore to the exact end":             restoreEnd,
	"where reading starts":                 startPositions,
	"growth":                               growth,
	"a twin takes a static member's place": twin,
	"a static member restarts in place":    staticRestart,
	"a static member dies while it gives":  staticDeath,
	"at least once":                        atLeastOnce,
	"internal topics":                      internalTopics,
	"one owns all":                         oneOwnsAll,
	"purge":                                purge,
	"memory is reused safely":              reuse,
	"churn":                                churn,
	"retention overtakes":                  retention,
	"others purge what a silent one reads": purgedByOthers,
	"an input is recreated":                recreated,
}

func TestScenarios(t *testing.T) {
	t.Parallel()
	for name, run := range scenarios {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, fakeEnv(t))
		})
	}
}

// The same on a real broker, at KAFKA_BOOTSTRAP, if MILLSTREAM_INTEGRATION is set.
func TestIntegration(t *testing.T) {
	if os.Getenv("MILLSTREAM_INTEGRATION") == "" {
		t.Skip("MILLSTREAM_INTEGRATION is not set: no real broker")
	}
	at := os.Getenv("KAFKA_BOOTSTRAP")
	require.NotEmpty(t, at, "MILLSTREAM_INTEGRATION is set, so KAFKA_BOOTSTRAP must name a broker")
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(at, ",")...))
	require.NoError(t, err)
	defer cl.Close()
	require.NoError(t, cl.Ping(testContext(t)), "MILLSTREAM_INTEGRATION is set, but no broker answers at %s", at)
	for name, run := range scenarios {
		t.Run(name, func(t *testing.T) {
			run(t, env{addrs: strings.Split(at, ","), suffix: "-" + strconv.FormatInt(time.Now().UnixNano(), 36)})
		})
	}
}

func wholeWay(t *testing.T, v env) {
	ctx := testContext(t)
	v.topics(t, map[string]int32{"in": 2, "out": 3})
	v.produce(t, "in", 0, 0, 10)
	v.produce(t, "in", 1, 10, 15)

	s := v.open(t, v.app("a"))
	assert.Equal(t, map[string]int32{v.name("in"): 2, v.name("out"): 3, v.name("copy-changelog"): 2}, s.Partitions())
	e := newEngine()
	stop := run(t, s, e)
	parts := []source.Partition{v.part("in", 0), v.part("in", 1)}
	e.until(t, "assignment", e.has(parts...))

	committed, err := s.Committed(ctx, parts)
	require.NoError(t, err)
	assert.Empty(t, committed)
	log := v.part("copy-changelog", 0)
	end, err := s.ReadChangelog(ctx, log, source.At(0), func([]source.Record) error { return nil })
	require.NoError(t, err)
	assert.Equal(t, source.At(0), end)

	caughtUp, err := s.Start(ctx, map[source.Partition]*source.Position{parts[0]: at(3), parts[1]: nil})
	require.NoError(t, err)
	assert.Empty(t, caughtUp)
	e.until(t, "records", func() bool { return len(e.records) == 12 })
	for _, b := range e.batches {
		assert.True(t, b.CaughtUp == (b.Next == b.End), "nothing is undecided, so at the end it is caught up")
	}

	require.NoError(t, s.Begin())
	recs := []sink.Record{{Stream: log.Stream, Partition: 0, Key: []byte("k"), Value: []byte("v"), Time: 1}}
	for _, r := range e.records {
		recs = append(recs, sink.Record{Stream: v.name("out"), Partition: sink.ByKey, Key: r.Key, Value: r.Value, Time: r.Time, Headers: []source.Header{{Key: "h", Value: []byte("x")}}})
	}
	require.NoError(t, s.Produce(ctx, recs))
	ends, err := s.Flush(ctx)
	require.NoError(t, err)
	assert.Equal(t, map[source.Partition]source.Position{log: source.At(1)}, ends)

	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	seen, err := kafkatest.Consume(short, v.addrs, v.name("out"), 1)
	cancel()
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Empty(t, seen, "visible before the commit")
	require.NoError(t, s.Commit(ctx, []connect.PositionCommit{
		{Partition: parts[0], Next: source.At(10), Metadata: "epoch 1"}, {Partition: parts[1], Next: source.At(5), Metadata: "epoch 1"}}))

	out, err := kafkatest.Consume(ctx, v.addrs, v.name("out"), 12)
	require.NoError(t, err)
	for _, r := range out {
		assert.Equal(t, int32(partitionOf(r.Key, 3)), r.Partition)
		assert.Equal(t, []source.Header{{Key: "h", Value: []byte("x")}}, r.Headers)
	}
	committed, err = s.Committed(ctx, parts)
	require.NoError(t, err)
	assert.Equal(t, map[source.Partition]connect.Committed{
		parts[0]: {Position: source.At(10), Metadata: "epoch 1"}, parts[1]: {Position: source.At(5), Metadata: "epoch 1"},
	}, committed)

	var restored []string
	end, err = s.ReadChangelog(ctx, log, source.At(0), func(rs []source.Record) error {
		for _, r := range rs {
			restored = append(restored, string(r.Key)+"="+string(r.Value))
		}
		return nil
	})
	require.NoError(t, err)
	// The transaction's marker is at 1. It is written after the commit is answered, so the end may have been taken before it.
	assert.GreaterOrEqual(t, end.Offset(), int64(1))
	assert.LessOrEqual(t, end.Offset(), int64(2))
	assert.Equal(t, []string{"k=v"}, restored)
	require.NoError(t, stop())
}

// Two inputs that are read side by side move together, and a revocation commits before it lets go.
func rebalance(t *testing.T, v env) {
	ctx := testContext(t)
	v.topics(t, map[string]int32{"in": 4, "too": 4, "out": 1})
	app := func(instance string) connect.App {
		a := v.app(instance)
		a.Sources = append(a.Sources, connect.SourceSpec{Name: v.name("too")})
		a.Groups = [][]string{{v.name("in"), v.name("too")}}
		return a
	}
	for i := range int32(4) {
		v.produce(t, "in", i, 0, 5)
		v.produce(t, "too", i, 0, 5)
	}
	all := append(units(v.name("in"), 0, 1, 2, 3), units(v.name("too"), 0, 1, 2, 3)...)

	s1, e1 := v.open(t, app("a")), newEngine()
	e1.onRevoked = func(ctx context.Context, parts []source.Partition) {
		var at []connect.PositionCommit
		for _, p := range parts {
			at = append(at, next(p, 5))
		}
		assert.NoError(t, v.commit(ctx, s1, "last of a", at...))
	}
	run(t, s1, e1)
	e1.until(t, "everything for the first", e1.has(all...))
	start := map[source.Partition]*source.Position{}
	for _, p := range all {
		start[p] = nil
	}
	_, err := s1.Start(ctx, start)
	require.NoError(t, err)
	e1.until(t, "all records", func() bool { return len(e1.records) == 40 })

	s2, e2 := v.open(t, app("b")), newEngine()
	run(t, s2, e2)
	e2.until(t, "half for the second", func() bool { return len(e2.assigned) == 4 })
	e1.until(t, "half for the first", func() bool { return len(e1.assigned) == 4 })
	var theirs []source.Partition
	e2.mu.Lock()
	for p := range e2.assigned {
		theirs = append(theirs, p)
		assert.True(t, e2.assigned[v.part("in", p.Index)] && e2.assigned[v.part("too", p.Index)], "co-partitioned")
	}
	e2.mu.Unlock()
	committed, err := s2.Committed(ctx, theirs)
	require.NoError(t, err)
	start = map[source.Partition]*source.Position{}
	for _, p := range theirs {
		assert.Equal(t, source.At(5), committed[p].Position, "%v", p)
		start[p] = at(5)
	}
	caughtUp, err := s2.Start(ctx, start)
	require.NoError(t, err)
	assert.ElementsMatch(t, theirs, caughtUp)
	for i := range int32(4) {
		v.produce(t, "in", i, 5, 8)
	}
	e1.until(t, "new records of the first", func() bool { return len(e1.records) == 46 })
	e2.until(t, "new records of the second", func() bool { return len(e2.records) == 6 })
	for _, r := range e2.records {
		assert.GreaterOrEqual(t, r.Position.Offset(), int64(5))
	}
	assert.ErrorIs(t, v.commit(ctx, s1, "not mine", next(theirs[0], 8)), connect.ErrFenced, "what was given away cannot be committed")
	s1.Abort(ctx)
	require.NoError(t, v.commit(ctx, s2, "mine", next(theirs[0], 8)))

	e1.mu.Lock()
	e1.onRevoked = nil
	e1.mu.Unlock()
	require.NoError(t, s1.Leave(ctx))
	e2.until(t, "everything for the second", e2.has(all...))
}

func successorFences(t *testing.T, v env) {
	ctx := testContext(t)
	v.topics(t, map[string]int32{"in": 1, "out": 1})
	s1, e1 := v.open(t, v.app("a")), newEngine()
	run(t, s1, e1)
	in := v.part("in", 0)
	e1.until(t, "assignment", e1.has(in))
	require.NoError(t, v.commit(ctx, s1, "first", next(in, 1)))
	require.NoError(t, s1.Begin())
	require.NoError(t, s1.Produce(ctx, []sink.Record{{Stream: v.name("out"), Partition: 0, Value: []byte("zombie")}}))
	_, err := s1.Flush(ctx)
	require.NoError(t, err)

	s2 := v.open(t, v.app("a")) // the same transactional id
	assert.ErrorIs(t, s1.Commit(ctx, []connect.PositionCommit{next(in, 2)}), connect.ErrFenced)
	s1.Abort(ctx)
	s1.Close(ctx)

	e2 := newEngine()
	run(t, s2, e2)
	e2.until(t, "assignment", e2.has(in))
	committed, err := s2.Committed(ctx, []source.Partition{in})
	require.NoError(t, err)
	assert.Equal(t, source.At(1), committed[in].Position)
	require.NoError(t, v.commit(ctx, s2, "second", next(in, 2)))
	assert.Equal(t, []string{"first", "second"}, v.values(t, "out", 2))
}

// A member that the group has removed commits nothing, whether or not it knows.
func expelledIsFenced(t *testing.T, v env) {
	ctx := testContext(t)
	v.topics(t, map[string]int32{"in": 1, "out": 1})
	app := v.app("a")
	app.Static = true
	s, e := v.open(t, app), newEngine()
	run(t, s, e)
	in := v.part("in", 0)
	e.until(t, "assignment", e.has(in))
	require.NoError(t, s.Begin())
	require.NoError(t, s.Produce(ctx, []sink.Record{{Stream: v.name("out"), Partition: 0, Value: []byte("zombie")}}))
	_, err := s.Flush(ctx)
	require.NoError(t, err)

	require.NoError(t, v.leave(t, "a"))
	assert.ErrorIs(t, s.Commit(ctx, []connect.PositionCommit{next(in, 2)}), connect.ErrFenced)
	s.Abort(ctx)
	e.until(t, "the loss is noticed", func() bool { return len(e.lost) == 1 })
	e.until(t, "the member joins again", e.has(in))
	committed, err := s.Committed(ctx, []source.Partition{in})
	require.NoError(t, err)
	assert.Empty(t, committed)
}

func positionsOnly(t *testing.T, v env) {
	ctx := testContext(t)
	v.topics(t, map[string]int32{"in": 1, "out": 1})
	s, e := v.open(t, v.app("a")), newEngine()
	run(t, s, e)
	in := v.part("in", 0)
	e.until(t, "assignment", e.has(in))
	position := func() int64 {
		committed, err := s.Committed(ctx, []source.Partition{in})
		require.NoError(t, err)
		return committed[in].Position.Offset()
	}
	require.NoError(t, v.commit(ctx, s, "one", next(in, 1)))
	require.NoError(t, s.Begin())
	require.NoError(t, s.Commit(ctx, []connect.PositionCommit{next(in, 2)}))
	assert.EqualValues(t, 2, position(), "committed although nothing was written")
	require.NoError(t, v.commit(ctx, s, "two", next(in, 3)))
	assert.EqualValues(t, 3, position())
	require.NoError(t, s.Begin())
	require.NoError(t, s.Commit(ctx, nil), "an epoch without anything")

	require.NoError(t, s.Begin())
	require.NoError(t, s.Produce(ctx, []sink.Record{{Stream: v.name("out"), Partition: 0, Value: []byte("unfenced")}}))
	_, err := s.Flush(ctx)
	require.NoError(t, err)
	assert.ErrorContains(t, s.Commit(ctx, nil), "would not be fenced")
	s.Abort(ctx)
	assert.Equal(t, []string{"one", "two"}, v.values(t, "out", 2))
}

func undecidedPositions(t *testing.T, v env) {
	ctx := testContext(t)
	v.topics(t, map[string]int32{"in": 1, "out": 1})
	s1, e := v.open(t, v.app("a")), newEngine()
	run(t, s1, e)
	in := v.part("in", 0)
	e.until(t, "assignment", e.has(in))
	require.NoError(t, s1.Begin())
	require.NoError(t, s1.Produce(ctx, []sink.Record{{Stream: v.name("out"), Partition: 0, Value: []byte("x")}}))
	_, err := s1.Flush(ctx)
	require.NoError(t, err)
	require.NoError(t, s1.commitInTransaction(ctx, []connect.PositionCommit{next(in, 7)}))

	s2 := v.open(t, v.app("b"))
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	_, err = s2.Committed(short, []source.Partition{in})
	cancel()
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, s1.end(ctx))
	committed, err := s2.Committed(ctx, []source.Partition{in})
	require.NoError(t, err)
	assert.Equal(t, connect.Committed{Position: source.At(7), Metadata: "m"}, committed[in])
}

// The changelog has a committed transaction, an aborted one, and at its end one that is still open.
func restoreEnd(t *testing.T, v env) {
	ctx := testContext(t)
	v.topics(t, map[string]int32{"in": 1, "out": 1})
	s, e := v.open(t, v.app("a")), newEngine()
	run(t, s, e)
	in, log := v.part("in", 0), v.part("copy-changelog", 0)
	e.until(t, "assignment", e.has(in))

	writer, err := kgo.NewClient(kgo.SeedBrokers(v.addrs...), kgo.TransactionalID(v.name("writer")), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	defer writer.Close()
	write := func(values ...string) {
		require.NoError(t, writer.BeginTransaction())
		for _, val := range values {
			require.NoError(t, writer.ProduceSync(ctx, &kgo.Record{Topic: log.Stream, Key: []byte(val), Value: []byte(val)}).FirstErr())
		}
	}
	read := func(from int64) (values string, end int64, err error) {
		pos, err := s.ReadChangelog(ctx, log, source.At(from), func(rs []source.Record) error {
			for _, r := range rs {
				values += string(r.Value)
			}
			return nil
		})
		return values, pos.Offset(), err
	}

	write("a", "b")
	require.NoError(t, writer.EndTransaction(ctx, kgo.TryCommit))
	write("x", "y", "z")
	require.NoError(t, writer.EndTransaction(ctx, kgo.TryAbort))
	await := func(end int64) { // markers are written after the transaction's end is answered
		require.Eventually(t, func() bool {
			ends, err := s.listOffsets(ctx, []source.Partition{log}, latestOffset, true)
			return err == nil && ends[log] == end
		}, 20*time.Second, 5*time.Millisecond)
	}
	await(7)
	values, end, err := read(0)
	require.NoError(t, err)
	assert.Equal(t, "ab", values)
	assert.EqualValues(t, 7, end, "2 records, marker, 3 aborted records, marker")
	values, end, err = read(1)
	require.NoError(t, err)
	assert.Equal(t, "b", values)
	assert.EqualValues(t, 7, end)
	values, end, err = read(7)
	require.NoError(t, err)
	assert.Empty(t, values)
	assert.EqualValues(t, 7, end)
	_, _, err = read(8)
	assert.ErrorContains(t, err, "but it ends at 7")

	write("c")
	type result struct {
		values string
		end    int64
		err    error
	}
	done := make(chan result, 1)
	go func() {
		values, end, err := read(0)
		done <- result{values, end, err}
	}()
	select {
	case r := <-done:
		require.Fail(t, "the end lies in an open transaction, which must be waited for", "%+v", r)
	case <-time.After(3 * time.Second): // longer than the time after which a gap counts as compacted away
	}
	require.NoError(t, writer.EndTransaction(ctx, kgo.TryCommit))
	r := <-done
	require.NoError(t, r.err)
	assert.Equal(t, "abc", r.values)
	assert.EqualValues(t, 8, r.end, "the watermark when the restore began")
	await(9)
	values, end, err = read(r.end)
	require.NoError(t, err)
	assert.Empty(t, values)
	assert.EqualValues(t, 9, end)

	// An error of the state stops it at what was applied.
	stop := assert.AnError
	pos, err := s.ReadChangelog(ctx, log, source.At(0), func([]source.Record) error { return stop })
	require.ErrorIs(t, err, stop)
	assert.Equal(t, source.At(0), pos)
}

func startPositions(t *testing.T, v env) {
	ctx := testContext(t)
	v.topics(t, map[string]int32{"in": 1, "late": 1, "out": 1})
	app := v.app("a")
	app.Sources = append(app.Sources, connect.SourceSpec{Name: v.name("late"), Range: source.Range{Start: source.Latest}})
	app.Groups = append(app.Groups, []string{v.name("late")})
	v.produce(t, "in", 0, 0, 10)
	v.produce(t, "late", 0, 0, 10)
	s, e := v.open(t, app), newEngine()
	run(t, s, e)
	in, late := v.part("in", 0), v.part("late", 0)
	e.until(t, "assignment", e.has(in, late))

	_, err := s.Start(ctx, map[source.Partition]*source.Position{in: at(11)})
	require.ErrorContains(t, err, v.name("in")+"/0 was read up to offset 11, but now it ends at 10")
	e.mu.Lock()
	e.room = 0
	e.mu.Unlock()
	caughtUp, err := s.Start(ctx, map[source.Partition]*source.Position{in: nil, late: nil})
	require.NoError(t, err)
	assert.Equal(t, []source.Partition{late}, caughtUp)
	_, err = s.Start(ctx, map[source.Partition]*source.Position{in: nil})
	require.ErrorContains(t, err, "started already")
	s.Wake()
	e.mu.Lock()
	assert.Empty(t, e.records, "there is no room")
	e.room = 1 << 20
	e.mu.Unlock()
	s.Wake()
	e.until(t, "the earliest", func() bool { return len(e.records) == 10 })
	v.produce(t, "late", 0, 10, 11)
	e.until(t, "the latest", func() bool { return len(e.records) == 11 })
	assert.EqualValues(t, 10, e.records[10].Position.Offset())

	s.Pause([]source.Partition{late})
	v.produce(t, "late", 0, 11, 12)
	v.produce(t, "in", 0, 10, 11)
	e.until(t, "the one that is not paused", func() bool { return len(e.records) == 12 })
	assert.EqualValues(t, 10, e.records[11].Value[0])
	s.Resume([]source.Partition{late})
	e.until(t, "the resumed one", func() bool { return len(e.records) == 13 })

	// Records that were deleted before they were read.
	adm := v.admin(t)
	require.NoError(t, deleteBefore(ctx, adm, in, 5))
	_, _, err = s.resolve(ctx, map[source.Partition]*source.Position{in: at(2)})
	require.ErrorContains(t, err, "the records of "+v.name("in")+"/0 from offset 2 to 4 were deleted")
	s.app.Sources[0].Range.Deleted = source.DeletedSkips
	from, _, err := s.resolve(ctx, map[source.Partition]*source.Position{in: at(2)})
	require.NoError(t, err)
	assert.EqualValues(t, 5, from[in])
}

func growth(t *testing.T, v env) {
	ctx := testContext(t)
	v.topics(t, map[string]int32{"in": 1, "out": 1})
	s, e := v.open(t, v.app("a")), newEngine()
	run(t, s, e)
	e.until(t, "assignment", e.has(v.part("in", 0)))
	_, err := v.admin(t).UpdatePartitions(ctx, 3, v.name("in"))
	require.NoError(t, err)
	e.until(t, "the new partitions", e.has(units(v.name("in"), 0, 1, 2)...))
	assert.EqualValues(t, 3, s.Partitions()[v.name("in")])
	v.produce(t, "in", 2, 0, 4)
	_, err = s.Start(ctx, map[source.Partition]*source.Position{v.part("in", 2): nil})
	require.NoError(t, err)
	e.until(t, "records of a new partition", func() bool { return len(e.records) == 4 })
}

func twin(t *testing.T, v env) {
	v.topics(t, map[string]int32{"in": 1, "out": 1})
	app := v.app("a")
	app.Static, app.Guarantee = true, connect.AtLeastOnce
	s1, e1 := v.open(t, app), newEngine()
	stop := run(t, s1, e1)
	e1.until(t, "assignment", e1.has(v.part("in", 0)))
	s2, e2 := v.open(t, app), newEngine()
	run(t, s2, e2)
	e2.until(t, "the second has it", e2.has(v.part("in", 0)))
	select {
	case <-s1.ended:
	case <-testContext(t).Done():
		require.Fail(t, "the first does not notice")
	}
	err := stop()
	require.ErrorIs(t, err, connect.ErrFenced)
	assert.ErrorContains(t, err, `another process runs as instance "a"`)
	assert.Equal(t, units(v.name("in"), 0), e1.lost)
}

func staticRestart(t *testing.T, v env) {
	ctx := testContext(t)
	v.topics(t, map[string]int32{"in": 2, "out": 1})
	app := func(instance string) connect.App {
		a := v.app(instance)
		a.Static = true
		return a
	}
	s1, e1 := v.open(t, app("a")), newEngine()
	run(t, s1, e1)
	e1.until(t, "alone", e1.has(units(v.name("in"), 0, 1)...))
	s2, e2 := v.open(t, app("b")), newEngine()
	stop := run(t, s2, e2)
	e2.until(t, "half", func() bool { return len(e2.assigned) == 1 })
	e1.until(t, "half", func() bool { return len(e1.assigned) == 1 })
	_, before, _ := s2.member.current(nil)
	require.NoError(t, stop())
	s2.Close(ctx)

	s3, e3 := v.open(t, app("b")), newEngine()
	run(t, s3, e3)
	e3.until(t, "the same half again", func() bool { return len(e3.assigned) == 1 })
	_, after, _ := s3.member.current(nil)
	if v.fake == nil { // the fake rebalances when anything in the join data differs
		assert.Equal(t, before, after, "no rebalance")
	}
	assert.Equal(t, e2.assigned, e3.assigned)
	p := v.part("in", 0)
	if !e3.assigned[p] {
		p = v.part("in", 1)
	}
	require.NoError(t, v.commit(ctx, s3, "x", next(p, 0)), "it can commit in the generation of its predecessor")

	require.NoError(t, s3.Leave(ctx))
	e1.until(t, "the other takes over at once", e1.has(units(v.name("in"), 0, 1)...))
}

// A static member is killed when it has given partitions up, and has not told the group yet. Its successor, for which the group
// does not balance (KIP-345), does so.
func staticDeath(t *testing.T, v env) {
	v.topics(t, map[string]int32{"in": 4, "out": 1})
	app := func(instance string) connect.App {
		a := v.app(instance)
		a.Static = true
		return a
	}
	s1, e1 := v.open(t, app("a")), newEngine()
	dead, once := make(chan struct{}), sync.Once{}
	e1.onRevoked = func(context.Context, []source.Partition) {
		s1.killGroup()
		once.Do(func() { close(dead) })
	}
	run(t, s1, e1)
	e1.until(t, "alone", e1.has(units(v.name("in"), 0, 1, 2, 3)...))
	s2, e2 := v.open(t, app("b")), newEngine()
	run(t, s2, e2)
	select {
	case <-dead:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing is given up")
	}
	s3, e3 := v.open(t, app("a")), newEngine()
	run(t, s3, e3)
	e2.until(t, "half", func() bool { return len(e2.assigned) == 2 })
	e3.until(t, "the other half", func() bool { return len(e3.assigned) == 2 })
}

func atLeastOnce(t *testing.T, v env) {
	ctx := testContext(t)
	v.topics(t, map[string]int32{"in": 1, "out": 1})
	app := v.app("a")
	app.Guarantee = connect.AtLeastOnce
	s, e := v.open(t, app), newEngine()
	assert.False(t, s.Transactional())
	run(t, s, e)
	in := v.part("in", 0)
	e.until(t, "assignment", e.has(in))
	require.NoError(t, s.Begin())
	require.NoError(t, s.Produce(ctx, []sink.Record{{Stream: v.name("out"), Partition: 0, Value: []byte("x")}}))
	_, err := s.Flush(ctx)
	require.NoError(t, err)
	assert.Equal(t, []string{"x"}, v.values(t, "out", 1), "visible before the commit")
	early := func(value string) {
		require.NoError(t, s.Produce(ctx, []sink.Record{{Stream: v.name("out"), Partition: 0, Value: []byte(value)}}))
	}
	early("y")
	require.NoError(t, s.Commit(ctx, []connect.PositionCommit{next(in, 1)}))
	early("z")
	assert.Equal(t, []string{"x", "y", "z"}, v.values(t, "out", 3), "outputs of the next epoch wait for nothing")
	committed, err := s.Committed(ctx, []source.Partition{in})
	require.NoError(t, err)
	assert.Equal(t, connect.Committed{Position: source.At(1), Metadata: "m"}, committed[in])
	require.NoError(t, s.Begin())
	assert.Error(t, s.Begin())
	_, err = s.Flush(ctx)
	require.NoError(t, err)
	assert.ErrorIs(t, s.Commit(ctx, []connect.PositionCommit{next(v.part("in", 9), 1)}), connect.ErrFenced, "not ours")
}

func internalTopics(t *testing.T, v env) {
	ctx := testContext(t)
	v.topics(t, map[string]int32{"in": 3, "out": 1})
	app := v.app("a")
	app.Internal = append(app.Internal,
		connect.InternalTopic{Name: v.name("copy-repartition"), Purpose: connect.Repartition, Like: []string{v.name("in"), v.name("copy-changelog")}},
		connect.InternalTopic{Name: v.name("copy-fixed"), Purpose: connect.Changelog, Partitions: 5})
	s := v.open(t, app)
	assert.EqualValues(t, 3, s.Partitions()[v.name("copy-repartition")])
	assert.EqualValues(t, 5, s.Partitions()[v.name("copy-fixed")])
	s.Close(ctx)
	v.open(t, app).Close(ctx) // verified, and found right

	adm := v.admin(t)
	set := func(topic, key, value string) {
		t.Helper()
		resp, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: key, Value: &value}}, v.name(topic))
		require.NoError(t, err)
		require.NoError(t, resp[0].Err)
		require.Eventually(t, func() bool { // a real broker answers before it knows
			cs, err := adm.DescribeTopicConfigs(ctx, v.name(topic))
			if err != nil || len(cs) != 1 {
				return false
			}
			for _, c := range cs[0].Configs {
				if c.Key == key {
					return c.Value != nil && *c.Value == value
				}
			}
			return false
		}, 10*time.Second, 20*time.Millisecond)
	}
	set("copy-changelog", "cleanup.policy", "delete")
	set("copy-repartition", "retention.ms", "1000")
	_, err := Cluster{Brokers: v.addrs}.Open(ctx, app)
	require.Error(t, err)
	for _, want := range []string{
		`topic "` + v.name("copy-changelog") + `" has cleanup.policy=delete, it must be compact: kafka-configs.sh --bootstrap-server ` + v.addrs[0] + ` --alter --entity-type topics --entity-name ` + v.name("copy-changelog") + ` --add-config cleanup.policy=compact`,
		`topic "` + v.name("copy-repartition") + `" has retention.ms=1000, it must be -1`,
	} {
		assert.ErrorContains(t, err, want)
	}
	set("copy-changelog", "cleanup.policy", "compact")
	set("copy-repartition", "retention.ms", "-1")
	if v.fake == nil { // the fake does not have this setting
		set("copy-changelog", "message.timestamp.after.max.ms", "3600000")
		_, err = Cluster{Brokers: v.addrs}.Open(ctx, app)
		assert.ErrorContains(t, err, "message.timestamp.after.max.ms=3600000, it must be 9223372036854775807")
		set("copy-changelog", "message.timestamp.after.max.ms", "9223372036854775807")
		assert.Equal(t, time.Hour, s.Limits(v.name("out")).MaxAhead)
	}
	assert.Equal(t, 1048588-batchOverhead, s.Limits(v.name("out")).MaxBytes)

	app.Internal[2].Partitions = 6
	_, err = Cluster{Brokers: v.addrs}.Open(ctx, app)
	assert.ErrorContains(t, err, `internal topic "`+v.name("copy-fixed")+`" has 5 partitions, the application needs 6`)

	app.Sources = append(app.Sources, connect.SourceSpec{Name: v.name("nowhere")})
	app.Groups = append(app.Groups, []string{v.name("nowhere")})
	app.Sinks = append(app.Sinks, v.name("dead-letters"))
	_, err = Cluster{Brokers: v.addrs}.Open(ctx, app)
	require.ErrorContains(t, err, "2 of the application's topics do not exist")
	assert.ErrorContains(t, err, `source "`+v.name("nowhere")+`": kafka-topics.sh --bootstrap-server `+v.addrs[0]+` --create --topic `+v.name("nowhere"))
	assert.ErrorContains(t, err, `sink "`+v.name("dead-letters")+`"`)
}

func oneOwnsAll(t *testing.T, v env) {
	v.topics(t, map[string]int32{"in": 3, "out": 1})
	app := func(instance string) connect.App {
		a := v.app(instance)
		a.OwnAll = true
		return a
	}
	all := units(v.name("in"), 0, 1, 2)
	s1, e1 := v.open(t, app("b")), newEngine()
	run(t, s1, e1)
	e1.until(t, "all for the first", e1.has(all...))
	s2, e2 := v.open(t, app("a")), newEngine()
	run(t, s2, e2)
	require.Eventually(t, func() bool { _, g, ok := s2.member.current(nil); return ok && g > 0 }, 30*time.Second, 10*time.Millisecond)
	e1.mu.Lock()
	assert.Len(t, e1.assigned, 3, "the one that has it keeps it")
	e1.mu.Unlock()
	require.NoError(t, s1.Leave(testContext(t)))
	e2.until(t, "the spare takes over", e2.has(all...))
}

// What a batch holds is right until it is released, while the memory of others is given to new batches.
func reuse(t *testing.T, v env) {
	ctx := testContext(t)
	v.topics(t, map[string]int32{"in": 2, "out": 1})
	const rounds, per = 40, 200
	s, e := v.open(t, v.app("a")), newEngine()
	run(t, s, e)
	e.until(t, "assignment", e.has(units(v.name("in"), 0, 1)...))
	_, err := s.Start(ctx, map[source.Partition]*source.Position{v.part("in", 0): nil, v.part("in", 1): nil})
	require.NoError(t, err)
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(), kgo.SnappyCompression()}
	var writers []*kgo.Client
	for _, c := range codecs {
		w, err := kgo.NewClient(kgo.SeedBrokers(v.addrs...), kgo.ProducerBatchCompression(c), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		require.NoError(t, err)
		defer w.Close()
		writers = append(writers, w)
	}
	value := func(p int32, offset int64) string {
		return strings.Repeat(strconv.Itoa(int(p))+"/"+strconv.FormatInt(offset, 10)+" ", 20)
	}
	var kept []source.Batch
	checked := map[int32]int64{}
	for round := range rounds {
		var recs []*kgo.Record
		for i := range per {
			for p := range int32(2) {
				recs = append(recs, &kgo.Record{Topic: v.name("in"), Partition: p, Value: []byte(value(p, int64(round*per+i)))})
			}
		}
		require.NoError(t, writers[round%len(writers)].ProduceSync(ctx, recs...).FirstErr())
		e.until(t, "records", func() bool { return len(e.records) == (round+1)*per*2 })
		e.mu.Lock()
		kept = append(kept, e.batches...)
		e.batches = nil
		e.mu.Unlock()
		for len(kept) > 5 { // some are held back
			b := kept[0]
			for _, r := range b.Records {
				require.Equal(t, checked[b.Partition.Index], r.Position.Offset())
				require.Equal(t, value(b.Partition.Index, r.Position.Offset()), string(r.Value))
				checked[b.Partition.Index]++
			}
			b.Release()
			b.Release() // a second one does nothing
			kept = kept[1:]
		}
	}
}
