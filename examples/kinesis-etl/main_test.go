package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/millstream-go/millstream/connect/kafka/kafkatest"
	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/streamtest"
)

var madeBy = regexp.MustCompile(`(?m)^ +(\d+) visits written`)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deadOf is how many of n visits of a run cannot be used.
func deadOf(n int) int { return n/97 + n/53 - n/(97*53) }

// On the Kinesis and the Kafka of the process every visit becomes a view or a dead letter, once, and what is personal is in
// nothing that is printed.
func TestRun(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), options{prefix: "t-", visits: 1500, limit: time.Minute}, &out), "%s", &out)
	assert.Regexp(t, `(?m)^Done after .* s\.$`, out.String())
	assert.Regexp(t, fmt.Sprintf(`(?m)^ +%d views in the topic t-views$`, 1500-deadOf(1500)), out.String())
	assert.Regexp(t, fmt.Sprintf(`(?m)^ +%d dead letters in the topic t-dead$`, deadOf(1500)), out.String())
	assert.Regexp(t, `(?m)^ +0 visits missing, 0 twice$`, out.String())
	assert.Contains(t, out.String(), "a shard of t-visits is split into two")
	assert.Contains(t, out.String(), `"network":"192.0.2.0/24"`)
	assert.Contains(t, out.String(), "is no address of a page")
	for _, secret := range []string{"@example.com", "Person", "192.0.2.1"} {
		assert.NotContains(t, out.String(), secret)
	}
}

// On others' the second run goes on where the first one has stopped, though it is interrupted and keeps no directory: in Kafka is every
// visit of both, once.
func TestRunsOnYours(t *testing.T) {
	yours := func(t *testing.T, endpoint string) {
		n := namesOf(fmt.Sprintf("etl-%d-", time.Now().UnixNano()))
		p, err := open(options{endpoint: endpoint}, n)
		require.NoError(t, err)
		defer p.close()
		_, err = p.client.CreateStream(t.Context(), &api.CreateStreamInput{StreamName: &n.visits, ShardCount: aws.Int32(2)})
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			d, err := p.client.DescribeStreamSummary(t.Context(), &api.DescribeStreamSummaryInput{StreamName: &n.visits})
			return err == nil && d.StreamDescriptionSummary.StreamStatus == types.StreamStatusActive
		}, time.Minute, 50*time.Millisecond)
		b, err := kafkatest.Start("", map[string]int32{n.views: 2, n.dead: 1})
		require.NoError(t, err)
		defer b.Close()
		o := options{endpoint: endpoint, brokers: b.Addrs()[0], prefix: n.visits[:len(n.visits)-len("visits")], visits: 1 << 20, limit: time.Minute}

		ctx, interrupt := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, interrupt)
		var first, second bytes.Buffer
		require.NoError(t, run(ctx, o, &first), "%s", &first)
		require.Contains(t, first.String(), "\nStopped after ")
		require.Regexp(t, `(?m)^ +0 visits missing, 0 twice$`, first.String())
		o.visits = 500
		require.NoError(t, run(t.Context(), o, &second), "%s", &second)
		require.Regexp(t, `(?m)^ +0 visits missing, 0 twice$`, second.String())

		made, dead := 500, deadOf(500)
		if m := madeBy.FindStringSubmatch(first.String()); assert.NotNil(t, m, "%s", &first) {
			n, err := strconv.Atoi(m[1])
			require.NoError(t, err)
			made, dead = made+n, dead+deadOf(n)
		}
		ids := map[string]bool{}
		views, err := b.Consume(t.Context(), n.views, made-dead)
		require.NoError(t, err)
		for _, r := range views {
			var v View
			require.NoError(t, json.Unmarshal(r.Value, &v))
			require.Equal(t, v.Page, string(r.Key))
			ids[v.ID] = true
		}
		letters, err := b.Consume(t.Context(), n.dead, dead)
		require.NoError(t, err)
		for _, r := range letters {
			ids[string(r.Key)] = true
		}
		require.Equal(t, [3]int{made - dead, dead, made}, [3]int{len(views), len(letters), len(ids)}, "views, dead letters, visits")
	}
	t.Run("in the process", func(t *testing.T) {
		s, err := kinesistest.Start(kinesistest.Options{})
		require.NoError(t, err)
		defer s.Close()
		yours(t, s.URL())
	})
	t.Run("on a server", func(t *testing.T) { // scripts/kinesis.sh starts one
		endpoint := os.Getenv("KINESIS_ENDPOINT")
		if endpoint == "" && os.Getenv("MILLSTREAM_INTEGRATION") == "" {
			t.Skip("KINESIS_ENDPOINT is not set")
		}
		require.NotEmpty(t, endpoint, "MILLSTREAM_INTEGRATION is set, so KINESIS_ENDPOINT must name a Kinesis")
		yours(t, endpoint)
	})
}

// A Kinesis that forgets and a Kafka that does not would be at odds at the second run.
func TestRefuses(t *testing.T) {
	err := run(t.Context(), options{brokers: "localhost:9092", prefix: "t-", visits: 1, limit: time.Minute}, &bytes.Buffer{})
	require.ErrorContains(t, err, "-brokers needs -endpoint or -region")
}

func TestTopology(t *testing.T) {
	n := namesOf("p-")
	streamtest.EveryWay(t, func() *stream.Topology { return topology(n, []byte("s")) }, func(t *testing.T, d *streamtest.Driver) {
		at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
		visit := Visit{ID: "1", Email: "a@b.c", IP: "192.0.2.7", URL: "https://x/shop/?utm_source=mail", Agent: "Mobile", At: at}
		d.Pipe(n.visits, at, visit)
		d.PipeTo(n.visits, streamtest.Record{Key: []byte("2"), Value: []byte(`{"id":`), Time: at})
		visit.ID, visit.URL = "3", "https://x"
		d.Pipe(n.visits, at, visit)

		views := d.Records(n.views)
		require.Len(t, views, 1)
		assert.Equal(t, "/shop", string(views[0].Key))
		assert.Equal(t, at, views[0].Time.UTC())
		assert.NotContains(t, string(views[0].Value), "a@b.c")
		assert.NotContains(t, string(views[0].Value), "192.0.2.7")
		letters := d.Records(n.dead)
		require.Len(t, letters, 2)
		assert.Equal(t, `{"id":`, string(letters[0].Value), "as it was read")
		assert.Contains(t, fmt.Sprintf("%s", letters[1].Headers), `"https://x" is no address of a page`)
	})
}

func TestRefine(t *testing.T) {
	at := time.Now()
	good := Visit{ID: "1", Email: "A@b.c", IP: "2001:db8:1:2::3", URL: "https://x/a/?utm_source=s", Agent: "Mobile", At: at}
	v, err := refine(good, []byte("s"))
	require.NoError(t, err)
	assert.Equal(t, View{"1", v.Visitor, "2001:db8:1::/48", "/a", "s", true, at}, v)
	same := good
	same.Email = "a@B.c"
	w, err := refine(same, []byte("s"))
	require.NoError(t, err)
	assert.Equal(t, v.Visitor, w.Visitor, "the same person")
	w, err = refine(good, []byte("other"))
	require.NoError(t, err)
	assert.NotEqual(t, v.Visitor, w.Visitor, "nobody who does not know the secret finds out")
	for name, bad := range map[string]func(*Visit){"id": func(v *Visit) { v.ID = "" }, "time": func(v *Visit) { v.At = time.Time{} }, "url": func(v *Visit) { v.URL = "%" }, "ip": func(v *Visit) { v.IP = "?" }} {
		v := good
		bad(&v)
		_, err := refine(v, nil)
		assert.Error(t, err, name)
	}
}
