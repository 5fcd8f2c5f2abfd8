package kinesis_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
	"github.com/millstream-go/millstream/connect/kinesis/lease"
	"github.com/millstream-go/millstream/stream"
)

// Three instances run while a stream goes from one shard to eight and to three, all of about equal load. Within 30 seconds each open shard
// is read by one of them, and none has more than one above its share. Nothing is lost, nor out of its key's order. (The leases alone,
// on a clock of their own, are tested beside them.)
func TestSharesStayEven(t *testing.T) {
	t.Parallel()
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 1)
	f.CreateStream("out", 4)
	c := f.streams()
	c.Leases = lease.Table{Failover: 3 * time.Second, Client: f.dynamodb()}
	keys := names(400)
	var all []*instance
	for range 3 {
		all = append(all, f.run(copies(), t.TempDir(), c, func(c *stream.Config) { c.Exchange = stream.ThroughTopic }))
	}
	// shares are how many of the open shards each instance reads; nil while one is read by none or by two.
	shares := func() (list []int) {
		open := f.Shards("in")
		read := map[string]int{}
		for _, in := range all {
			s, err := in.Status(t.Context())
			require.NoError(t, err)
			n := 0
			for _, task := range s.Tasks {
				_, number, _ := strings.Cut(task.ID, "_")
				if id := fmt.Sprintf("shardId-%012s", number); task.State == "running" && slices.Contains(open, id) {
					read[id]++
					n++
				}
			}
			list = append(list, n)
		}
		for _, id := range open {
			if read[id] != 1 {
				return nil
			}
		}
		return list
	}
	for _, n := range []int32{1, 8, 3} {
		if n > 1 {
			_, err := f.client.UpdateShardCount(t.Context(), &api.UpdateShardCountInput{StreamName: aws.String("in"), TargetShardCount: aws.Int32(n), ScalingType: types.ScalingTypeUniformScaling})
			require.NoError(t, err)
		}
		require.Len(t, f.Shards("in"), int(n))
		begun := time.Now()
		require.Eventually(t, func() bool {
			f.put("in", 1, keys...)
			got := shares()
			return got != nil && slices.Max(got) <= int(n)/3+1
		}, 30*time.Second, 250*time.Millisecond, "%d shards", n)
		t.Logf("%d shards: %v after %v", n, shares(), time.Since(begun).Round(time.Millisecond))
	}
	f.arrived(all[0])
	for _, in := range all {
		in.stop(t)
	}
}
