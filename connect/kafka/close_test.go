package kafka

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/source"
)

// A task that was restored while the session was being closed does not make it fetch again.
func TestStartAfterClose(t *testing.T) {
	t.Parallel()
	v := fakeEnv(t)
	v.topics(t, map[string]int32{"in": 8, "out": 1})
	v.produce(t, "in", 0, 0, 10)
	s, e := openCluster(t, Cluster{Brokers: v.addrs}, v.app("a")), newEngine()
	run(t, s, e)
	var parts []source.Partition
	for i := range int32(8) {
		parts = append(parts, v.part("in", i))
	}
	e.until(t, "assignment", e.has(parts...))
	start := func(p source.Partition) error {
		_, err := s.Start(t.Context(), map[source.Partition]*source.Position{p: at(0)})
		return err
	}
	require.NoError(t, start(parts[0]))
	e.until(t, "the records", func() bool { return len(e.records) == 10 })
	var others sync.WaitGroup
	for _, p := range parts[1:7] { // beside it: before it or not at all
		others.Go(func() { _ = start(p) })
	}
	s.Close(t.Context())
	others.Wait()
	require.ErrorIs(t, start(parts[7]), errClosed)
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Nil(t, s.reading[parts[7]])
}
