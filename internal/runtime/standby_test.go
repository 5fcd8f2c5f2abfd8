package runtime

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/source"
)

// reader is a session that reads one changelog at a time, chunks of one record.
type reader struct {
	connect.Session
	one sync.Mutex
	n   int64
}

func (r *reader) ReadChangelog(_ context.Context, _ source.Partition, from source.Position, apply func([]source.Record) error) (source.Position, error) {
	r.one.Lock()
	defer r.one.Unlock()
	for from.Offset() < r.n {
		if err := apply([]source.Record{{Position: from}}); err != nil {
			return from, err
		}
		from = source.At(from.Offset() + 1)
	}
	return from, nil
}

// Copies are read only while no task is restored, keep nothing that a restore needs, and give up when they are told to.
func TestCopiesGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, s := &engine{}, &reader{n: 3}
		var restored atomic.Int32
		restore := func() { // an hour after it has begun, it reads
			e.restores.Add(1)
			go func() {
				defer e.restores.Add(-1)
				time.Sleep(time.Hour)
				_, err := s.ReadChangelog(t.Context(), source.Partition{}, source.Position{}, func([]source.Record) error { return nil })
				assert.NoError(t, err)
				restored.Add(1)
			}()
		}
		var at source.Position
		copied := 0
		read := func(ctx context.Context) error {
			return e.giveWay(ctx, func() error {
				_, err := yielding{s, e}.ReadChangelog(ctx, source.Partition{}, at, func(recs []source.Record) error {
					at = source.At(recs[0].Position.Offset() + 1)
					copied++
					restore()
					return nil
				})
				return err
			})
		}
		began := time.Now()
		require.NoError(t, read(t.Context()))
		assert.Equal(t, source.At(3), at)
		assert.Equal(t, 3, copied)
		assert.EqualValues(t, 2, restored.Load(), "the third one is still at it")
		assert.Less(t, time.Since(began), 2*time.Hour+time.Second)

		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		require.ErrorIs(t, read(ctx), context.DeadlineExceeded)
		assert.Equal(t, 3, copied)
		time.Sleep(time.Hour)
	})
}

// A task has a name for the connector even where it reads nothing of a topic, or not of its first one.
func TestNamesOfTasks(t *testing.T) {
	left, right := Input{Port: task.PortSpec{Name: "left"}}, Input{Port: task.PortSpec{Name: "right"}}
	behind := &Subtopology{Inputs: []Input{{Port: task.PortSpec{Name: "exchange", Memory: true}}}}
	both := &Subtopology{Inputs: []Input{left, right}}
	p := &Program{Subtopologies: []*Subtopology{both, behind}}
	counts := map[string]int32{"left": 2, "right": 3, "exchange": 8}
	assert.Equal(t, source.Partition{Stream: "left", Index: 1}, p.names(both, 1, counts))
	assert.Equal(t, source.Partition{Stream: "right", Index: 2}, p.names(both, 2, counts))
	assert.Equal(t, source.Partition{Stream: "left"}, p.names(behind, 7, counts))
}

// What is wanted is the last that was said, whoever has not looked yet.
func TestFollowDoesNotWait(t *testing.T) {
	e := &engine{follows: make(chan struct{}, 1)}
	for i := range int32(3) {
		e.Follow([]source.Partition{{Stream: "in", Index: i}})
	}
	assert.Len(t, e.follows, 1)
	assert.Equal(t, []source.Partition{{Stream: "in", Index: 2}}, e.wanted)
}
