package kafkatest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/millstream-go/millstream/source"
)

func TestBrokerKeepsItsData(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	dir := t.TempDir()
	at := time.UnixMilli(123456)
	b, err := Start(dir, map[string]int32{"in": 3})
	require.NoError(t, err)
	require.NotEmpty(t, b.Addrs())
	require.NoError(t, b.Produce(ctx,
		Record{Topic: "in", Partition: 2, Key: []byte("k"), Value: []byte("v"), Time: at, Headers: []source.Header{{Key: "h", Value: []byte("x")}}},
		Record{Topic: "in", Partition: -1, Key: []byte("foobar"), Value: []byte("by key")}))
	b.Close()

	b, err = Start(dir, map[string]int32{"in": 7, "new": 1})
	require.NoError(t, err)
	defer b.Close()
	recs, err := b.Consume(ctx, "in", 2)
	require.NoError(t, err)
	require.Len(t, recs, 2)
	assert.Equal(t, Record{Topic: "in", Partition: 2, Key: []byte("k"), Value: []byte("v"), Time: at, Headers: []source.Header{{Key: "h", Value: []byte("x")}}}, recs[len(recs)-1])
	assert.Len(t, b.Cluster.PartitionInfos("in"), 3, "a topic that exists keeps its partitions")

	short, stop := context.WithTimeout(ctx, 100*time.Millisecond)
	defer stop()
	_, err = b.Consume(short, "new", 1)
	assert.ErrorContains(t, err, `consume "new": 0 of 1 records`)
}
