package kafka

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/source"
)

// A topic is deleted and created again: while it is read, and between two runs.
func recreated(t *testing.T, v env) {
	ctx := testContext(t)
	v.topics(t, map[string]int32{"in": 1, "out": 1})
	v.produce(t, "in", 0, 0, 3)
	in := v.part("in", 0)
	s, e := v.open(t, v.app("a")), newEngine()
	stop := run(t, s, e)
	e.until(t, "assignment", e.has(in))
	_, err := s.Start(ctx, map[source.Partition]*source.Position{in: nil})
	require.NoError(t, err)
	e.until(t, "records", func() bool { return len(e.records) == 3 })
	_, err = v.admin(t).DeleteTopics(ctx, in.Stream)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := v.admin(t).CreateTopic(ctx, 1, 1, nil, in.Stream)
		return err == nil
	}, 20*time.Second, 100*time.Millisecond)
	select {
	case <-s.ended:
	case <-ctx.Done():
		require.Fail(t, "not noticed")
	}
	err = stop()
	assert.ErrorContains(t, err, "was deleted or recreated while it was read")
	assert.ErrorIs(t, err, connect.ErrRecreated)
	s.Close(ctx)

	// A position that was committed for another topic of the name, as a broker that keeps such positions has it.
	v.produce(t, "in", 0, 0, 9)
	foreign := "1 - 0 0" + topicTag + "AAAAAAAAAAAAAAAAAAAAAA"
	offsets := kadm.Offsets{in.Stream: {0: {Topic: in.Stream, At: 3, LeaderEpoch: -1, Metadata: foreign}}}
	require.Eventually(t, func() bool {
		resp, err := v.admin(t).CommitOffsets(ctx, v.name("copy"), offsets)
		return err == nil && resp.Error() == nil
	}, 20*time.Second, 100*time.Millisecond, "the group is empty at last")
	s = v.open(t, v.app("b"))
	_, err = s.Committed(ctx, []source.Partition{in})
	require.ErrorIs(t, err, connect.ErrRecreated)
	require.ErrorContains(t, err, in.String()+" belongs to another topic of that name")
}
