package kafka

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
)

// shard is a partition of another system.
var shard = source.Partition{Stream: "arn:aws:kinesis:eu-west-1:1:stream/in", Index: 11}

// outlet opens an outlet of an instance, and takes partitions.
func (v env) outlet(t *testing.T, instance string, parts ...source.Partition) (*outflow, map[source.Partition]connect.Committed) {
	t.Helper()
	app := v.app(instance)
	app.Sources, app.Groups, app.Sinks = nil, nil, []string{"out"}
	out, err := Cluster{Brokers: v.addrs}.OpenOutlet(testContext(t), app)
	require.NoError(t, err)
	t.Cleanup(func() { out.Close(context.Background()) })
	found, err := out.Take(testContext(t), parts)
	require.NoError(t, err)
	return out.(*outflow), found
}

func (o *outflow) epoch(t *testing.T, value string, from source.Partition, next source.Position, meta string) error {
	t.Helper()
	ctx := testContext(t)
	require.NoError(t, o.Write(ctx, from, []sink.Record{{Stream: "out", Partition: 0, Value: []byte(value), Time: 1}}))
	if err := o.Flush(ctx); err != nil {
		return err
	}
	return o.Commit(ctx, []connect.PositionCommit{{Partition: from, Next: next, Metadata: meta}})
}

// Whoever takes a partition shuts out the instance that had it, in the middle of its epoch, and goes on from what that has
// committed. The other partitions stay where they are.
func TestOutlet(t *testing.T) {
	t.Parallel()
	v := fakeEnv(t)
	v.topics(t, map[string]int32{"out": 1})
	other := source.Partition{Stream: shard.Stream, Index: 3} // its positions are in the same partition of the topic
	a, found := v.outlet(t, "a", shard, other)
	require.Empty(t, found)
	big := source.Position{High: math.MaxUint64, Mid: 7, Low: math.MaxUint64 - 1, Sub: 12}
	require.NoError(t, a.epoch(t, "one", shard, source.At(1), ""))
	require.NoError(t, a.epoch(t, "two", shard, big, "1 - 0 17 5,6"))

	ctx := testContext(t)
	require.NoError(t, a.Write(ctx, shard, []sink.Record{{Stream: "out", Value: []byte("of a zombie"), Time: 1}}))
	require.NoError(t, a.Flush(ctx))
	b, found := v.outlet(t, "b", shard)
	require.Equal(t, map[source.Partition]connect.Committed{shard: {Position: big, Metadata: "1 - 0 17 5,6"}}, found)
	err := a.Commit(ctx, []connect.PositionCommit{{Partition: shard, Next: source.At(9)}})
	require.ErrorIs(t, err, connect.ErrFenced)
	require.NoError(t, b.epoch(t, "three", shard, connect.Ended, ""))
	a.Drop(ctx, []source.Partition{shard})
	require.NoError(t, a.epoch(t, "four", other, source.At(5), ""))
	require.Equal(t, []string{"one", "two", "three", "four"}, v.values(t, "out", 4))

	b.Drop(ctx, []source.Partition{shard})
	require.ErrorIs(t, b.Write(ctx, shard, []sink.Record{{Stream: "out"}}), connect.ErrFenced)
	_, found = v.outlet(t, "c", shard, other)
	require.Equal(t, map[source.Partition]connect.Committed{shard: {Position: connect.Ended}, other: {Position: source.At(5)}}, found)
}

// What cannot be committed is not, and what may have been is not guessed at.
func TestOutletFailures(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		key kmsg.Key
		err *kerr.Error
		is  error
	}{
		"a record is refused": {kmsg.Produce, kerr.InvalidTimestamp, connect.ErrRetry},
		"the end is unclear":  {kmsg.EndTxn, kerr.UnknownServerError, connect.ErrUnknown},
		"the end is refused":  {kmsg.EndTxn, kerr.TransactionAbortable, connect.ErrRetry},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := fakeEnv(t)
			v.topics(t, map[string]int32{"out": 1})
			a, _ := v.outlet(t, "a", shard)
			require.NoError(t, a.epoch(t, "one", shard, source.At(1), ""))
			h := v.fake.Cluster.Fault(kfake.Fault{Keys: []kmsg.Key{tc.key}, Err: tc.err})
			err := a.epoch(t, "two", shard, source.At(2), "")
			require.Positive(t, h.Hits())
			require.ErrorIs(t, err, tc.is)
			h.Remove()
			a.Abort(testContext(t))
			_, found := v.outlet(t, "b", shard)
			require.Equal(t, source.At(1), found[shard].Position)
		})
	}
	v := fakeEnv(t)
	v.topics(t, map[string]int32{"out": 1})
	a, _ := v.outlet(t, "a", shard)
	ctx := testContext(t)
	require.NoError(t, a.Write(ctx, shard, []sink.Record{{Stream: "out", Value: []byte("x"), Time: 1}}))
	require.NoError(t, a.Flush(ctx))
	require.ErrorIs(t, a.Commit(ctx, nil), connect.ErrRetry, "records without a position are not fenced")
	require.Error(t, func() error { _, err := decodeCommitted("2 0 0 0 0 "); return err }())
	require.Error(t, func() error { _, err := decodeCommitted("1 0 0 x 0 "); return err }())
}
