package lease

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
	"github.com/millstream-go/millstream/source"
)

// everywhere runs a test on the service for tests, and on the DynamoDB that DYNAMODB_ENDPOINT names (scripts/kinesis.sh
// starts one).
func everywhere(t *testing.T, test func(*testing.T, *table)) {
	run := func(t *testing.T, url string) {
		c := dynamodb.New(dynamodb.Options{Region: "us-east-1", BaseEndpoint: &url, Credentials: credentials.NewStaticCredentialsProvider("any", "any", "")})
		tb := &table{client: c, name: fmt.Sprintf("leases-%d", time.Now().UnixNano()), patience: 10 * time.Second, logger: slog.New(slog.DiscardHandler)}
		require.NoError(t, tb.open(t.Context()))
		t.Cleanup(func() {
			_, _ = c.DeleteTable(context.Background(), &dynamodb.DeleteTableInput{TableName: &tb.name})
		})
		test(t, tb)
	}
	t.Run("fake", func(t *testing.T) {
		s, err := kinesistest.Start(kinesistest.Options{Creating: 100 * time.Millisecond})
		require.NoError(t, err)
		t.Cleanup(s.Close)
		run(t, s.URL())
	})
	t.Run("server", func(t *testing.T) {
		url := os.Getenv("DYNAMODB_ENDPOINT")
		if url == "" {
			t.Skip("DYNAMODB_ENDPOINT is not set")
		}
		run(t, url)
	})
}

func set(s ...string) types.AttributeValue { return &types.AttributeValueMemberSS{Value: s} }

// The rows as the Kinesis Client Library 3.5 has them, and what becomes of them.
func TestRows(t *testing.T) {
	everywhere(t, func(t *testing.T, tb *table) {
		ctx := t.Context()
		read := func() item {
			it, err := tb.get(ctx, "shardId-000000000003")
			require.NoError(t, err)
			return it
		}
		apply := func(e *edit) row {
			r, err := tb.apply(ctx, "shardId-000000000003", e)
			require.NoError(t, err)
			return r
		}
		s := kinesis.Shard{ShardID: kinesis.ShardID{Stream: "s", Shard: "shardId-000000000003"}, Parents: []string{"shardId-000000000002", "shardId-000000000001"}, Hashes: hashes(1, 2)}
		require.NoError(t, tb.insert(ctx, fresh(s, TrimHorizon).item()))
		want := item{"leaseKey": text("shardId-000000000003"), "entityType": text("LEASE"), "leaseCounter": integer(0), "ownerSwitchesSinceCheckpoint": integer(0), "checkpoint": text("TRIM_HORIZON"),
			"checkpointSubSequenceNumber": integer(0), "parentShardId": set("shardId-000000000001", "shardId-000000000002"),
			"startingHashKey": text("170141183460469231731687303715884105728"), "endingHashKey": text("340282366920938463463374607431768211455")}
		assert.Equal(t, want, sorted(read()))

		r := apply(assigned(row{key: s.Shard}, "a"))
		want["leaseOwner"], want["leaseCounter"] = text("a"), integer(1)
		assert.Equal(t, want, sorted(read()))
		require.NoError(t, tb.insert(ctx, fresh(s, TrimHorizon).item()), "is there, and stays")
		assert.Equal(t, want, sorted(read()))

		other := &edit{} // what other programs know
		other.put("somethingElse", text("stays"))
		other.put(attrPending, text("1"))
		apply(other)
		r.load = 12.5
		r = apply(renew("a", r))
		p := source.Position{High: 0x20_0000_0000, Mid: 5, Low: 6, Sub: 8}
		r = apply(checkpointed("a", r, written(p), nil))
		want["somethingElse"], want["throughputKBps"], want["leaseCounter"] = text("stays"), &types.AttributeValueMemberN{Value: "12.5"}, integer(3)
		want["checkpoint"], want["checkpointSubSequenceNumber"] = text(written(p).checkpoint), integer(7)
		assert.Equal(t, want, sorted(read()))
		got, err := r.position()
		require.NoError(t, err)
		assert.Equal(t, p, *got)

		_, err = tb.apply(ctx, s.Shard, renew("b", r))
		require.ErrorIs(t, err, errMissed)
		r = apply(asked(r, "b"))
		want["leaseOwner"], want["checkpointOwner"] = text("b"), text("a")
		assert.Equal(t, want, sorted(read()))
		_, err = tb.apply(ctx, s.Shard, renew("b", r))
		require.ErrorIs(t, err, errMissed, "not yet")
		r = apply(renew("a", r))
		r = apply(released("a", r))
		delete(want, "checkpointOwner")
		want["leaseCounter"] = integer(5)
		assert.Equal(t, want, sorted(read()))
		owned, err := tb.owned(ctx, "b")
		require.NoError(t, err)
		assert.Equal(t, []string{s.Shard}, owned)
		tb.indexed = false
		owned, err = tb.owned(ctx, "b")
		require.NoError(t, err)
		assert.Equal(t, []string{s.Shard}, owned, "without index")

		r = apply(assigned(r, "c"))
		assert.EqualValues(t, 1, r.switches)
		r = apply(checkpointed("c", r, written(connect.Ended), []string{"y", "x"}))
		assert.True(t, r.ended())
		assert.Equal(t, []string{"x", "y"}, r.children)
		assert.Zero(t, r.switches)
		r = apply(released("c", r))
		assert.Empty(t, r.has())
		items, err := tb.scan(ctx)
		require.NoError(t, err)
		assert.Len(t, items, 1)
		e := &edit{}
		e.require(e.is(attrCounter, integer(r.counter-1)))
		require.NoError(t, tb.remove(ctx, s.Shard, e))
		require.NotNil(t, read())
		e = &edit{}
		e.require(e.is(attrCounter, integer(r.counter)))
		require.NoError(t, tb.remove(ctx, s.Shard, e))
		require.Nil(t, read())
		_, err = tb.apply(ctx, s.Shard, renew("c", r))
		require.ErrorIs(t, err, errMissed, "an edit makes no row")
	})
}

// sorted sorts sets, whose order means nothing.
func sorted(it item) item {
	for _, v := range it {
		if s, ok := v.(*types.AttributeValueMemberSS); ok {
			slices.Sort(s.Value)
		}
	}
	return it
}

func TestDecode(t *testing.T) {
	// as version 2 of the library writes it
	r, err := decode(item{"leaseKey": text("shardId-000000000001"), "leaseOwner": text("w"), "leaseCounter": integer(7), "ownerSwitchesSinceCheckpoint": integer(1), "checkpoint": text("LATEST"), "checkpointSubSequenceNumber": integer(0), "parentShardId": set("x")})
	require.NoError(t, err)
	assert.Equal(t, row{key: "shardId-000000000001", owner: "w", counter: 7, switches: 1, checkpoint: "LATEST", parents: []string{"x"}}, r)
	for _, wrong := range []item{{attrKey: text("a"), attrCounter: text("7")}, {attrKey: text("a"), attrCounter: &types.AttributeValueMemberN{Value: "7.5"}}, {attrKey: text("a"), attrParents: text("x")},
		{attrKey: integer(1)}, {attrKey: text("a"), attrStart: text("x"), attrEnd: text("y")}, {attrKey: text("a"), attrLoad: text("x")}} {
		_, err := decode(wrong)
		require.Error(t, err, "%v", wrong)
	}
}

func TestPositions(t *testing.T) {
	for _, p := range []source.Position{{}, {Low: 1_700_000_000_000}, {High: 1}, {High: 1, Sub: 1}, {High: 0x20_0000_0000, Mid: 1 << 63, Low: 7, Sub: 412}, connect.Ended} {
		m := written(p)
		got, err := row{checkpoint: m.checkpoint, sub: m.sub, since: m.since}.position()
		require.NoError(t, err)
		assert.Equal(t, p, *got)
	}
	got, err := row{checkpoint: "49590338271490256608559692538361571095921575989136588898", sub: 0}.position()
	require.NoError(t, err)
	assert.Equal(t, mark{checkpoint: "49590338271490256608559692538361571095921575989136588898"}, written(*got))
	assert.EqualValues(t, 1, got.Sub, "the record itself was processed")
	for _, none := range []string{"LATEST", "AT_TIMESTAMP", ""} {
		got, err := row{checkpoint: none}.position()
		require.NoError(t, err)
		assert.Nil(t, got)
	}
	for _, wrong := range []string{"x", "-5", "12", "999" + "49590338271490256608559692538361571095921575989136588898"} {
		_, err := row{checkpoint: wrong}.position()
		require.Error(t, err, wrong)
	}
}

func TestCheck(t *testing.T) {
	good := Table{Client: dynamodb.New(dynamodb.Options{Region: "x"})}
	require.NoError(t, good.Check())
	for says, bad := range map[string]Table{"Client": {}, "Start": {Client: good.Client, Start: "x"}, "Failover": {Client: good.Client, Failover: time.Millisecond}, "HandOver": {Client: good.Client, HandOver: -1}, "Name": {Client: good.Client, Shared: true}} {
		require.ErrorContains(t, bad.Check(), says)
		_, err := bad.Join(t.Context(), kinesis.Member{})
		require.ErrorContains(t, err, says)
	}
	assert.Equal(t, "app-orders", tableName("app", "orders"))
	assert.Equal(t, "my_app-orders", tableName("my app", "arn:aws:kinesis:eu-west-1:123456789012:stream/orders"))
}
