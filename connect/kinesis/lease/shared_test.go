package lease

import (
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
)

// Three applications have a table in common, each with a stream of its own of the same name, and instances of the same names: two that share
// it, and one that takes it for its own. Instances of each come, go and die at random, and shards are split and merged, as in TestRandom.
// None writes, or asks for, a row of another; each reads all of its shards, and a row that is nobody's stays as it was.
func TestSharedTable(t *testing.T) {
	steps := 20
	if testing.Short() {
		steps = 6
	}
	scenario(t, kinesistest.Options{}, func(w *world) {
		var all []*chaos
		r := rand.New(rand.NewPCG(3, 7))
		worlds := []*world{{app: "a", shared: true}, {app: "a/s", shared: true}, {app: "alone"}}
		for _, x := range worlds {
			x.T, x.server, x.records, x.common = w.T, w.server, map[string]uint64{}, "leases"
			c := &chaos{world: x, r: r}
			c.begin()
			all = append(all, c)
		}
		defer func() {
			for _, x := range worlds {
				for _, l := range x.lines {
					l.arrive()
				}
			}
		}()
		stranger := worlds[0].table()
		stranger.prefix = "a/"
		require.NoError(t, stranger.insert(w.Context(), item{attrKey: text("s2/shardId-000000000000"), attrEntity: text(entityLease), attrOwner: text("i1-1"), attrCounter: integer(7), attrCheckpoint: text(trimHorizon)}))
		before, err := stranger.get(w.Context(), "s2/shardId-000000000000")
		require.NoError(t, err)
		for range steps {
			for _, c := range all {
				c.step()
			}
			w.pass(time.Duration(r.IntN(8000)) * time.Millisecond)
		}
		w.server.Heal()
		for _, c := range all {
			c.finish()
		}
		after, err := stranger.get(w.Context(), "s2/shardId-000000000000")
		require.NoError(t, err)
		assert.Equal(t, before, after)
		assert.NotNil(t, before)
	})
}

// Kinds of rows and keys of a shared table, and what those see of it who do not share it.
func TestSharedRows(t *testing.T) {
	everywhere(t, func(t *testing.T, plain *table) {
		ctx := t.Context()
		one, two := *plain, *plain
		one.prefix, two.prefix = sharedPrefix("app", "arn:aws:kinesis:eu-west-1:1:stream/orders"), sharedPrefix("app", "order")
		for _, tb := range []*table{plain, &one, &two} {
			require.NoError(t, tb.insert(ctx, fresh(shard("shardId-000000000000", false), TrimHorizon).item()))
			require.NoError(t, tb.insert(ctx, item{attrKey: text(leaderKey), attrEntity: text(entityLeader), attrLeaderName: text("me")}))
			_, err := tb.apply(ctx, "shardId-000000000000", assigned(row{key: "shardId-000000000000"}, "me"))
			require.NoError(t, err, "in each there is one, and nobody has it")
		}
		raw, err := plain.get(ctx, "app/orders/shardId-000000000000")
		require.NoError(t, err)
		assert.Nil(t, raw, "whoever has a table to itself is shown no such row")
		raw, err = (&table{client: plain.client, name: plain.name, patience: plain.patience, prefix: "app/"}).get(ctx, "orders/shardId-000000000000")
		require.NoError(t, err)
		assert.Equal(t, text("me"), raw[attrOwner])
		for _, tb := range []*table{plain, &one, &two} {
			items, err := tb.scan(ctx)
			require.NoError(t, err)
			kinds := map[string]string{}
			for _, it := range items {
				kinds[it[attrKey].(*types.AttributeValueMemberS).Value] = entity(it)
			}
			assert.Equal(t, map[string]string{"shardId-000000000000": entityLease, leaderKey: entityLeader}, kinds)
			keys, err := tb.owned(ctx, "me")
			require.NoError(t, err)
			if tb != plain { // whom the index shows the keys of all; adopting looks at the rows
				assert.Equal(t, []string{"shardId-000000000000"}, keys)
			}
			unindexed := *tb
			unindexed.indexed = false
			keys, err = unindexed.owned(ctx, "me")
			require.NoError(t, err)
			assert.Equal(t, []string{"shardId-000000000000"}, keys)
		}
	})
}

func TestStreamsWithTheSameRows(t *testing.T) {
	s, err := kinesistest.Start(kinesistest.Options{})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	w := &world{T: t, server: s}
	for _, shared := range []bool{false, true} {
		tb := Table{Client: w.client(s.HTTPClient().Transport), Name: func(string, string) string { return "leases" }, Shared: shared}
		m, err := tb.Join(t.Context(), kinesis.Member{App: "app", Instance: "i", Incarnation: "1", Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		found := func(stream string) error {
			sh := shard("shardId-000000000000", false)
			sh.Stream = stream
			return m.Found(t.Context(), []kinesis.Shard{sh})
		}
		require.NoError(t, found("orders"))
		require.NoError(t, found("orders"), "again")
		if shared {
			require.NoError(t, found("payments"))
		} else {
			require.ErrorContains(t, found("payments"), "the streams orders and payments would have the same rows of table leases")
		}
		err = found("arn:aws:kinesis:eu-west-1:1:stream/orders")
		require.ErrorIs(t, err, connect.ErrStop)
		require.NoError(t, m.Close(t.Context()))
	}
}
