package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/streamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// It ends by itself, on the Kinesis of the process, and says what it has done.
func TestRun(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), options{prefix: "t-", length: 5 * time.Second}, &out), "%s", &out)
	assert.Contains(t, out.String(), "a shard of t-payments is split into two")
	assert.Regexp(t, `(?m)^Done after .* s\.$`, out.String())
	assert.Regexp(t, `(?m)^ +[1-9]\d* payments written to the stream t-payments$`, out.String())
	assert.Regexp(t, `(?m)^ +[1-9]\d* features of trailing windows and [1-9]\d* of hopping ones read from the stream t-by-card, 0 of them again$`, out.String())
	assert.Regexp(t, `(?m)^A trailing window: trailing/card-0\d\d/`, out.String())
}

// On a Kinesis of others the second run goes on with the windows that were open when the first was interrupted: every feature is
// what the payments say, each is there once, and none is missing.
func TestRunsOnYours(t *testing.T) {
	t.Parallel()
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

func yours(t *testing.T, endpoint string) {
	prefix := fmt.Sprintf("features-%d-", time.Now().UnixNano())
	n := namesOf(prefix)
	p, err := open(options{endpoint: endpoint}, n)
	require.NoError(t, err)
	defer p.close()
	for _, name := range []string{n.payments, n.features} {
		_, err := p.client.CreateStream(t.Context(), &api.CreateStreamInput{StreamName: &name, ShardCount: aws.Int32(2)})
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			d, err := p.client.DescribeStreamSummary(t.Context(), &api.DescribeStreamSummaryInput{StreamName: &name})
			return err == nil && d.StreamDescriptionSummary.StreamStatus == types.StreamStatusActive
		}, time.Minute, 50*time.Millisecond)
	}
	o := options{endpoint: endpoint, prefix: prefix, state: filepath.Join(t.TempDir(), "state"), length: time.Minute}
	ctx, interrupt := context.WithCancel(t.Context())
	time.AfterFunc(3500*time.Millisecond, interrupt)
	var first, second bytes.Buffer
	require.NoError(t, run(ctx, o, &first), "%s", &first)
	require.Contains(t, first.String(), "\nStopped after ")
	had := readAll[Payment](t, p.client, n.payments)
	o.length = 4 * time.Second
	require.NoError(t, run(t.Context(), o, &second), "%s", &second)

	var payments []Payment
	for _, p := range readAll[Payment](t, p.client, n.payments) {
		if p.Approved {
			payments = append(payments, p)
		}
	}
	got := map[string]bool{}
	for _, f := range readAll[Feature](t, p.client, n.features) {
		require.False(t, got[f.ID], "%s is there twice", f.ID)
		got[f.ID] = true
		var want Spend
		for _, p := range payments {
			if p.Card == f.Card && !p.At.Before(f.Start) && p.At.Before(f.End) {
				want.add(p)
			}
		}
		require.Equal(t, want, f.Spend, f.ID)
	}
	var until time.Time // before it the first run has made all payments
	for _, p := range had {
		if p.At.After(until) {
			until = p.At
		}
	}
	hopped := 0
	for _, p := range had {
		if !p.Approved {
			continue
		}
		assert.Contains(t, got, fmt.Sprintf("trailing/%s/%d", p.Card, p.At.UnixMilli()+1))
		for end := p.At.Truncate(hopping.Advance).Add(hopping.Advance); !end.After(until) && end.Sub(p.At) <= hopping.Size; end = end.Add(hopping.Advance) {
			assert.Contains(t, got, fmt.Sprintf("hopping/%s/%d", p.Card, end.UnixMilli()))
			hopped++
		}
	}
	require.NotZero(t, hopped)
}

// readAll reads what a stream has.
func readAll[V any](t *testing.T, client *api.Client, name string) (all []V) {
	t.Helper()
	list, err := client.ListShards(t.Context(), &api.ListShardsInput{StreamName: &name})
	require.NoError(t, err)
	for _, sh := range list.Shards {
		first, err := client.GetShardIterator(t.Context(), &api.GetShardIteratorInput{StreamName: &name, ShardId: sh.ShardId, ShardIteratorType: types.ShardIteratorTypeTrimHorizon})
		require.NoError(t, err)
		for it, more := first.ShardIterator, true; more; {
			out, err := client.GetRecords(t.Context(), &api.GetRecordsInput{ShardIterator: it})
			require.NoError(t, err)
			for _, r := range out.Records {
				var v V
				require.NoError(t, json.Unmarshal(r.Data, &v))
				all = append(all, v)
			}
			it, more = out.NextShardIterator, len(out.Records) > 0 || aws.ToInt64(out.MillisBehindLatest) > 0
		}
	}
	return all
}

// A Kinesis that forgets and a state that does not would be at odds at the second run.
func TestRefuses(t *testing.T) {
	t.Parallel()
	err := run(t.Context(), options{state: t.TempDir(), prefix: "t-", length: time.Second}, &bytes.Buffer{})
	require.ErrorContains(t, err, "-state needs -endpoint or -region")
}

func TestTopology(t *testing.T) {
	n := namesOf("p-")
	streamtest.EveryWay(t, func() *stream.Topology { return topology(n) }, func(t *testing.T, d *streamtest.Driver) {
		at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
		pay := func(after time.Duration, cents int64, approved bool) {
			d.Pipe(n.payments, at.Add(after), Payment{"a", cents, approved, at.Add(after)})
		}
		pay(0, 100, true)
		pay(time.Second, 999, false)
		pay(3*time.Second, 50, true)
		pay(6*time.Second, 7, true)
		pay(5500*time.Millisecond, 1, true) // out of order, and in time
		d.Advance(at.Add(20 * time.Second))

		var got []string
		for _, f := range d.Drain[Feature](n.features) {
			assert.Equal(t, fmt.Sprintf("%s/a/%d", f.Window, f.End.UnixMilli()), f.ID)
			got = append(got, fmt.Sprintf("%s %s–%s: %d, %d, %d", f.Window, f.Start.Format(clock[6:]), f.End.Format(clock[6:]), f.Payments, f.Cents, f.Largest))
		}
		assert.ElementsMatch(t, []string{
			"trailing 55.001–00.001: 1, 100, 100",
			"trailing 58.001–03.001: 2, 150, 100",
			"trailing 00.501–05.501: 2, 51, 50",
			"trailing 01.001–06.001: 3, 58, 50",
			"hopping 52.000–02.000: 1, 100, 100",
			"hopping 54.000–04.000: 2, 150, 100",
			"hopping 56.000–06.000: 3, 151, 100",
			"hopping 58.000–08.000: 4, 158, 100",
			"hopping 00.000–10.000: 4, 158, 100",
			"hopping 02.000–12.000: 3, 58, 50",
			"hopping 04.000–14.000: 2, 8, 7",
			"hopping 06.000–16.000: 1, 7, 7",
		}, got)
	})
}
