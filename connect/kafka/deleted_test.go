package kafka

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/source"
)

func purge(t *testing.T, v env) {
	ctx := testContext(t)
	v.topics(t, map[string]int32{"in": 2, "out": 1})
	v.produce(t, "in", 0, 0, 10)
	s := v.open(t, v.app("a"))
	require.NoError(t, s.Purge(ctx, map[source.Partition]source.Position{v.part("in", 0): source.At(4), v.part("in", 1): source.At(0)}))
	starts, err := s.listOffsets(ctx, units(v.name("in"), 0, 1), earliestOffset, false)
	require.NoError(t, err)
	assert.Equal(t, map[source.Partition]int64{v.part("in", 0): 4, v.part("in", 1): 0}, starts)
	require.NoError(t, s.Purge(ctx, nil))
	assert.ErrorContains(t, s.Purge(ctx, map[source.Partition]source.Position{v.part("in", 0): source.At(99)}), v.name("in")+"/0")
}

// The records that come next are deleted while a partition waits.
// An instance that was silent for long finds that records of a repartition topic are gone, because others have processed
// them. It is fenced; that records are gone which nobody has processed, it would hear at its next start.
func purgedByOthers(t *testing.T, v env) {
	ctx := testContext(t)
	v.topics(t, map[string]int32{"in": 1, "out": 1})
	app := v.app("a")
	app.Internal = append(app.Internal, connect.InternalTopic{Name: v.name("copy-repartition"), Purpose: connect.Repartition, Like: []string{v.name("in")}})
	app.Groups = append(app.Groups, []string{v.name("copy-repartition")})
	part := v.part("copy-repartition", 0)
	s, e := v.open(t, app), newEngine()
	stop := run(t, s, e)
	e.until(t, "assignment", e.has(v.part("in", 0), part))
	v.produce(t, "copy-repartition", 0, 0, 10)
	s.Pause([]source.Partition{part})
	_, err := s.Start(ctx, map[source.Partition]*source.Position{part: at(2)})
	require.NoError(t, err)
	require.NoError(t, deleteBefore(ctx, v.admin(t), part, 5))
	s.Resume([]source.Partition{part})
	<-s.ended
	err = stop()
	assert.ErrorIs(t, err, connect.ErrFenced)
	assert.NotErrorIs(t, err, connect.ErrDeleted)
	s.Close(ctx)

	s, e = v.open(t, app), newEngine()
	stop = run(t, s, e)
	e.until(t, "assignment", e.has(v.part("in", 0), part))
	_, err = s.Start(ctx, map[source.Partition]*source.Position{part: at(2)})
	assert.ErrorIs(t, err, connect.ErrDeleted)
	require.NoError(t, stop())
}

func retention(t *testing.T, v env) {
	ctx := testContext(t)
	v.topics(t, map[string]int32{"in": 1, "out": 1})
	v.produce(t, "in", 0, 0, 10)
	in := v.part("in", 0)
	var gaps []string
	begin := func(deleted source.Deleted, instance string) (*engine, func() error, *session) {
		app := v.app(instance)
		app.Sources[0].Range.Deleted = deleted
		app.OnGap = func(p source.Partition, from, to source.Position) {
			gaps = append(gaps, fmt.Sprint(p.Index, " ", from, " ", to))
		}
		s, e := v.open(t, app), newEngine()
		stop := run(t, s, e)
		e.until(t, "assignment", e.has(in))
		s.Pause([]source.Partition{in})
		return e, stop, s
	}
	e, stop, s := begin(source.DeletedSkips, "a")
	_, err := s.Start(ctx, map[source.Partition]*source.Position{in: at(2)})
	require.NoError(t, err)
	require.NoError(t, deleteBefore(ctx, v.admin(t), in, 5))
	s.Resume([]source.Partition{in})
	e.until(t, "what is left", func() bool { return len(e.records) == 5 })
	assert.EqualValues(t, 5, e.records[0].Position.Offset())
	assert.Equal(t, []string{"0 2 5"}, gaps)
	require.NoError(t, stop())
	require.NoError(t, s.Leave(ctx))
	s.Close(ctx)

	_, stop, s = begin(source.DeletedFails, "b")
	_, err = s.Start(ctx, map[source.Partition]*source.Position{in: at(6)})
	require.NoError(t, err)
	require.NoError(t, deleteBefore(ctx, v.admin(t), in, 9))
	s.Resume([]source.Partition{in})
	<-s.ended
	err = stop()
	assert.ErrorContains(t, err, "the records of "+in.String()+" from offset 6 to 8 were deleted by the broker")
	assert.ErrorIs(t, err, connect.ErrDeleted)
	require.NoError(t, s.Leave(ctx))
	s.Close(ctx)

	e, stop, s = begin(source.DeletedLatest, "c")
	caughtUp, err := s.Start(ctx, map[source.Partition]*source.Position{in: at(7)})
	require.NoError(t, err)
	assert.Equal(t, []source.Partition{in}, caughtUp)
	assert.Equal(t, "0 7 10", gaps[len(gaps)-1])
	s.Resume([]source.Partition{in})
	v.produce(t, "in", 0, 10, 11)
	e.until(t, "what comes then", func() bool { return len(e.records) == 1 })
	assert.EqualValues(t, 10, e.records[0].Position.Offset())
	require.NoError(t, stop())
}
