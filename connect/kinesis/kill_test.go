package kinesis_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
	"github.com/millstream-go/millstream/stream"
)

// The environment of a process that is to be killed: the service's address, the state directory, and, if it is to write
// to Kafka, the brokers.
const childURL, childDir, childBrokers = "KINESIS_TEST_URL", "KINESIS_TEST_DIR", "KINESIS_TEST_BROKERS"

// childMany is set for a process that reads many shards and tells what it takes: its budget of memory.
const childMany = "KINESIS_TEST_MANY"

// childOfTwo is set for a process that runs two applications, the one behind the other: its name.
const childOfTwo = "KINESIS_TEST_PAIR"

// childCopies is set for a process that keeps snapshots: where.
const childCopies = "KINESIS_TEST_COPIES"

// childIdentify is set for a process whose results have ids.
const childIdentify = "KINESIS_TEST_IDENTIFY"

func TestMain(m *testing.M) {
	if url := os.Getenv(childURL); url != "" {
		if err := child(url, os.Getenv(childDir)); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	flag.Parse()
	if !testing.Short() {
		_ = flag.Set("test.parallel", "8") // they wait more than they compute
	}
	goleak.VerifyTestMain(m)
}

// child runs the application until it is killed.
func child(url, dir string) error {
	client := api.New(api.Options{Region: "local", BaseEndpoint: aws.String(url), Credentials: credentials.NewStaticCredentialsProvider("any", "any", "")})
	f := &fake{client: client}
	if name := os.Getenv(childOfTwo); name != "" {
		return pair(f.streams(), client, url, strings.Split(os.Getenv(childBrokers), ","), dir, name)
	}
	topo, cfg := tallies(), stream.Config{AppID: "test", StateDir: dir, Connect: []connect.Connector{f.streams()}, Exchange: stream.InMemory, CommitInterval: 5 * time.Millisecond, MemoryBudget: 64 << 20}
	if brokers := os.Getenv(childBrokers); brokers != "" {
		topo = feeds()
		into(strings.Split(brokers, ","))(&cfg)
	}
	if os.Getenv(childIdentify) != "" {
		topo = identify()
	}
	if copies := os.Getenv(childCopies); copies != "" {
		copiedTo(copies, 20*time.Millisecond)(&cfg)
	}
	if budget := os.Getenv(childMany); budget != "" {
		many(&cfg, f.streams(), budget)
	}
	app, err := topo.Build(cfg)
	if err != nil {
		return err
	}
	return app.Run(context.Background())
}

// A process is killed at any moment, again and again, while its streams are split and merged. What it has counted is exact,
// and in order: state and positions are of one epoch.
func TestKilled(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("not in a -short run")
	}
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", 2)
	f.CreateStream("out", 1)
	dir, keys := t.TempDir(), names(30)
	for round := range 8 {
		self := exec.Command(os.Args[0])
		self.Env = append(os.Environ(), childURL+"="+f.URL(), childDir+"="+dir)
		self.Stderr = os.Stderr
		require.NoError(t, self.Start())
		before := f.Calls()["PutRecords"]
		f.put("in", 30, keys...)
		if open := f.Shards("in"); round%3 == 2 {
			require.NoError(t, f.Merge("in", open[0], open[1]))
		} else {
			require.NoError(t, f.Split("in", open[round%len(open)]))
		}
		f.putPacked("in", 2, keys...)
		writes := rand.IntN(20) + 6
		require.Eventually(t, func() bool { return f.Calls()["PutRecords"] >= before+writes || f.counted(keys) }, patience, time.Millisecond)
		require.NoError(t, self.Process.Kill())
		require.Error(t, self.Wait())
	}
	f.expect(f.run(tallies(), dir, f.streams()))
}

// counted says that nothing is left to be done.
func (f *fake) counted(keys []string) bool {
	got := f.results()
	for _, k := range keys {
		if got[k].Count < f.numbers[k] {
			return false
		}
	}
	return true
}
