package runtime

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/source"
)

// chunks is a session whose changelog has so many chunks of one record.
type chunks struct {
	connect.Session
	n int
}

func (c chunks) ReadChangelog(_ context.Context, _ source.Partition, from source.Position, apply func([]source.Record) error) (source.Position, error) {
	for range c.n {
		if err := apply([]source.Record{{Position: from}}); err != nil {
			return from, err
		}
		from = source.At(from.Offset() + 1)
	}
	return from, nil
}

// Copies are read only while no task is restored, and give up when they are told to.
func TestCopiesGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &engine{}
		y := yielding{chunks{n: 3}, e}
		read := 0
		apply := func([]source.Record) error {
			read++
			e.restores.Store(1) // one begins while the copy is read
			return nil
		}
		go func() {
			for range 3 {
				time.Sleep(time.Hour)
				e.restores.Store(0)
			}
		}()
		began := time.Now()
		next, err := y.ReadChangelog(t.Context(), source.Partition{}, source.Position{}, apply)
		require.NoError(t, err)
		assert.Equal(t, source.At(3), next)
		assert.Equal(t, 3, read)
		assert.GreaterOrEqual(t, time.Since(began), 2*time.Hour)

		e.restores.Store(1)
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		_, err = y.ReadChangelog(ctx, source.Partition{}, source.Position{}, apply)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 3, read)
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
