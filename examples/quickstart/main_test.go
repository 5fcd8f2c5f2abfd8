package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/millstream-go/millstream/connect/kafka/kafkatest"
	"github.com/millstream-go/millstream/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quickstart(t *testing.T, ctx context.Context, o options) string {
	t.Helper()
	if o.length == 0 {
		o.length = 5 * time.Second
	}
	var out bytes.Buffer
	require.NoError(t, run(ctx, o, &out), "%s", out.String())
	return out.String()
}

// A first run, a second one that goes on from its positions, and one after a reset.
func TestQuickstart(t *testing.T) {
	if testing.Short() {
		t.Skip("runs for some seconds")
	}
	o := options{dir: filepath.Join(t.TempDir(), "qs"), prefix: "quickstart-"}
	first := quickstart(t, t.Context(), o)
	require.Contains(t, first, "First run")
	require.Regexp(t, `payments/s   watermark \d\d:\d\d:\d\d \(.* s ago\)   lag `, first)
	require.Regexp(t, `window  \d\d:\d\d:\d\d–\d\d:\d\d:\d\d +\d+ cards`, first)
	require.Contains(t, first, "\nDone after ")
	require.Regexp(t, `(?m)^ +[1-9][\d,]* payments read from quickstart-payments$`, first)
	require.Regexp(t, `(?m)^ +[1-9][\d,]* results written to quickstart-card-features$`, first)
	require.Regexp(t, `(?m)^ +[1-9][\d,]* late payments written to quickstart-payments-late$`, first)
	require.Contains(t, first, o.dir)
	at := regexp.MustCompile(`quickstart-payments: partition 0 at [1-9].*`).FindString(first)
	require.NotEmpty(t, at)

	second := quickstart(t, t.Context(), o)
	require.Contains(t, second, "It goes on where the last run stopped")
	require.Contains(t, second, at, "the positions at which the first run ended")

	o.reset = true
	o.length = time.Second
	require.Contains(t, quickstart(t, t.Context(), o), "First run")
}

// It stops when it is told to, with a summary and without an error. The topics that it names are those that there are.
func TestQuickstartStops(t *testing.T) {
	b, err := kafkatest.Start("", nil)
	require.NoError(t, err)
	defer b.Close()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Second, cancel)
	o := options{dir: t.TempDir(), prefix: "mine-", brokers: strings.Join(b.Addrs(), ","), length: time.Minute}
	out := quickstart(t, ctx, o)
	require.Contains(t, out, "Stopped after")
	require.Contains(t, out, "nothing was deleted")
	topics := append([]string{"mine-payments", "mine-card-features", "mine-payments-late"}, topicsOf("mine-").own()...)
	for _, topic := range topics {
		require.Contains(t, out, topic)
		require.NotNil(t, b.Cluster.TopicInfo(topic), topic)
	}
}

func TestPlace(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, place{dir}.open(true), "an empty directory")
	require.NoError(t, place{dir}.open(true), "its own directory")

	other := t.TempDir()
	precious := filepath.Join(other, "state")
	require.NoError(t, os.WriteFile(precious, nil, 0o600))
	require.ErrorContains(t, place{other}.open(true), "no quickstart made it")
	require.FileExists(t, precious)

	_, stop, err := place{dir}.broker()
	require.NoError(t, err)
	require.ErrorContains(t, place{dir}.open(false), "another quickstart runs")
	stop()
	require.NoError(t, place{dir}.open(false))
	require.NoError(t, os.WriteFile(filepath.Join(dir, answer), []byte("127.0.0.1:1"), 0o600))
	require.NoError(t, place{dir}.open(false), "the last one was killed")
}

func TestTopology(t *testing.T) {
	d := topology(topicsOf("p-")).Describe(stream.Text)
	require.Contains(t, d, `"p-payments"`)
	for _, topic := range topicsOf("p-").own() {
		require.Contains(t, d, strings.Replace(topic, "p-app", "{AppID}", 1))
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		require.Equal(t, want, thousands(n))
	}
	require.Equal(t, "1,234.05", money(123405))
}
