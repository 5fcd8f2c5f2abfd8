package runtime

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"

	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/source"
)

// asked is a connector that notes what it is asked.
type asked struct {
	mu    sync.Mutex
	parts [][]source.Partition
	err   error
}

func (a *asked) heard() [][]source.Partition {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.parts
}

func (a *asked) fails(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
}

func (a *asked) Ends(_ context.Context, parts []source.Partition) (map[source.Partition]source.Position, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.parts = append(a.parts, parts)
	return map[source.Partition]source.Position{}, a.err
}

// Only the source partitions that are silent, and whose time may go on, are asked where they end; the worker of each is
// woken by the answer. An error changes nothing.
func TestProve(t *testing.T) {
	defer goleak.VerifyNone(t)
	synctest.Test(t, func(t *testing.T) {
		w := &worker{wake: make(chan struct{}, 1)}
		e := &engine{log: slog.New(slog.DiscardHandler), ports: map[source.Partition]*port{}, now: func() int64 { return 1000 }}
		add := func(name string, spec task.PortSpec) *port {
			p := &port{Port: &task.Port{Part: source.Partition{Stream: name}, Spec: &spec}}
			p.worker.Store(w)
			e.ports[p.Part] = p
			return p
		}
		silent := add("silent", task.PortSpec{ProvenAfter: 500})
		add("repartition", task.PortSpec{ProvenAfter: 500, Repartition: true})
		add("stands still", task.PortSpec{})
		add("speaks", task.PortSpec{ProvenAfter: 500}).Offer(source.Batch{Bytes: 1})
		add("restores", task.PortSpec{ProvenAfter: 500}).worker.Store(nil)

		run, stop := context.WithCancel(t.Context())
		defer stop()
		s := &asked{}
		go e.prove(run, s, time.Second)
		<-w.wake
		synctest.Wait()
		assert.Equal(t, [][]source.Partition{{silent.Part}}, s.heard())
		s.fails(errors.New("no broker"))
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Len(t, s.heard(), 2)
		assert.Empty(t, w.wake)
		s.fails(nil)
		<-w.wake
	})
}

func TestProvePace(t *testing.T) {
	of := func(after int64, end source.End) *Subtopology {
		in := Input{Port: task.PortSpec{ProvenAfter: after}}
		in.Start.Range.End = end
		return &Subtopology{Inputs: []Input{in}}
	}
	for want, subs := range map[time.Duration][]*Subtopology{
		0:                      {of(0, source.Never)},
		5 * time.Second:        {of(20_000, source.Never), of(10_000, source.Never), of(0, source.Never)},
		100 * time.Millisecond: {of(150, source.Never)},
		20 * time.Millisecond:  {of(20, source.Never)},
		2 * time.Second:        {of(1, source.EndTime), of(4000, source.Never)},
	} {
		assert.Equal(t, want, (&Program{Subtopologies: subs}).provePace())
	}
}
