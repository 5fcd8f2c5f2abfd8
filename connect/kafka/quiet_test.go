package kafka

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millstream-go/millstream/source"
)

// Partitions of which nothing comes are watched, and what happens meanwhile is read at once.
func TestQuiet(t *testing.T) {
	t.Parallel()
	for name, then := range map[string]func(t *testing.T, v env, s *session, e *engine){
		"a record comes": func(t *testing.T, v env, _ *session, e *engine) {
			v.produce(t, "in", 0, 1, 2)
			e.until(t, "the record", func() bool { return len(e.records) == 2 })
		},
		"a partition is started": func(t *testing.T, v env, s *session, e *engine) {
			_, err := s.Start(testContext(t), map[source.Partition]*source.Position{v.part("in", 1): at(0)})
			require.NoError(t, err)
			e.until(t, "the record", func() bool { return len(e.records) == 2 })
		},
		"the handler pauses one, and resumes it": func(t *testing.T, v env, s *session, e *engine) {
			s.Pause([]source.Partition{v.part("in", 0)})
			v.produce(t, "in", 0, 1, 2)
			v.produce(t, "in", 2, 0, 1)
			e.until(t, "the record of the other", func() bool { return len(e.records) == 2 })
			assert.Equal(t, v.part("in", 2), e.batches[1].Partition)
			s.Resume([]source.Partition{v.part("in", 0)})
			e.until(t, "its record", func() bool { return len(e.records) == 3 })
		},
		"its leader moves": func(t *testing.T, v env, s *session, e *engine) {
			leader := v.fake.Cluster.LeaderFor(v.name("in"), 0)
			require.NoError(t, v.fake.Cluster.MoveTopicPartition(v.name("in"), 0, 1-leader))
			v.produce(t, "in", 0, 1, 2)
			e.until(t, "the record", func() bool { return len(e.records) == 2 })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := fakeEnv(t, kfake.NumBrokers(2))
			v.topics(t, map[string]int32{"in": 3, "out": 1})
			s, e := openCluster(t, Cluster{Brokers: v.addrs}, v.app("a")), newEngine()
			quiet := make(chan struct{}, 100)
			v.fake.Cluster.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
				v.fake.Cluster.KeepControl()
				if req.(*kmsg.FetchRequest).MaxWaitMillis == int32(watchWait.Milliseconds()) {
					quiet <- struct{}{}
				}
				return nil, nil, false
			})
			run(t, s, e)
			v.produce(t, "in", 0, 0, 1)
			v.produce(t, "in", 1, 0, 1)
			e.until(t, "assignment", e.has(v.part("in", 0), v.part("in", 1), v.part("in", 2)))
			_, err := s.Start(testContext(t), map[source.Partition]*source.Position{v.part("in", 0): at(0), v.part("in", 2): at(0)})
			require.NoError(t, err)
			e.until(t, "the first record", func() bool { return len(e.records) == 1 })
			for range 2 { // the first had nothing
				select {
				case <-quiet:
				case <-testContext(t).Done():
					require.Fail(t, "the partitions are not watched")
				}
			}
			then(t, v, s, e)
		})
	}
}
