package kinesis_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
	"github.com/millstream-go/millstream/stream"
)

// taken is what a process takes.
type taken struct {
	Goroutines int // the most
	Peak       int // of its memory, in bytes
}

// many makes a process one that reads many shards, at the rates of the service, and that tells ten times a second what it takes.
func many(cfg *stream.Config, c kinesis.Streams, budget string) {
	cfg.MemoryBudget, _ = strconv.ParseInt(budget, 10, 64)
	c.PollEvery, c.CallsPerSecond = time.Second, 5
	cfg.Connect = []connect.Connector{c}
	go func() {
		t := taken{}
		for range time.Tick(100 * time.Millisecond) {
			t.Goroutines = max(t.Goroutines, runtime.NumGoroutine())
			status, _ := os.ReadFile("/proc/self/status")
			_, peak, _ := strings.Cut(string(status), "VmHWM:")
			_, _ = fmt.Sscan(peak, &t.Peak)
			b, _ := json.Marshal(taken{t.Goroutines, t.Peak << 10})
			fmt.Println(string(b))
		}
	}()
}

// Many shards: each is read, and so are those of a reshard, with few goroutines for each and
// within the budget of memory and a quarter. With MILLSTREAM_INTEGRATION there are 500, and twice 400 MB; otherwise little.
func TestManyShards(t *testing.T) {
	if testing.Short() {
		t.Skip("not in a -short run")
	}
	const budget = 128 << 20
	shards, keys, size := 250, names(2500), 1_000
	if os.Getenv("MILLSTREAM_INTEGRATION") != "" {
		shards, keys, size = 500, names(8000), 50_000
	}
	f := start(t, kinesistest.Options{})
	f.CreateStream("in", shards)
	f.CreateStream("out", 1)
	put := func() {
		var in []types.PutRecordsRequestEntry
		pad := strings.Repeat("x", size)
		for _, k := range keys {
			f.numbers[k]++
			b, err := json.Marshal(struct {
				reading
				Pad string
			}{reading{k, f.numbers[k], int64(f.numbers[k]) * 1000}, pad})
			require.NoError(t, err)
			if in = append(in, types.PutRecordsRequestEntry{PartitionKey: aws.String(k), Data: b}); len(in) == 100 {
				f.putAll("in", in)
				in = nil
			}
		}
		f.putAll("in", in)
	}
	put()
	require.Len(t, f.filled, shards, "each has something to be read")

	self := exec.Command(os.Args[0])
	self.Env = append(os.Environ(), childURL+"="+f.URL(), childDir+"="+t.TempDir(), childMany+"="+strconv.Itoa(budget))
	self.Stderr = os.Stderr
	out, err := self.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, self.Start())
	var mu sync.Mutex
	var last taken
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			mu.Lock()
			_ = json.Unmarshal(lines.Bytes(), &last) // what follows it will tell
			mu.Unlock()
		}
	}()
	defer func() {
		_ = self.Process.Kill()
		<-heard
		_ = self.Wait()
	}()
	takes := func() taken {
		mu.Lock()
		defer mu.Unlock()
		return last
	}
	counted := func() bool { return f.counted(keys) }
	require.Eventually(t, counted, 2*patience, 50*time.Millisecond)
	for _, sh := range f.Shards("in")[:shards/5] {
		require.NoError(t, f.Split("in", sh))
	}
	put()
	require.Eventually(t, counted, 2*patience, 50*time.Millisecond)
	polled := shards + shards/5
	got := takes()
	t.Logf("%d shards: %d goroutines, %d MiB with a budget of %d MiB", polled, got.Goroutines, got.Peak>>20, budget>>20)
	require.Positive(t, got.Goroutines)
	require.LessOrEqual(t, got.Goroutines, 3*polled+50)
	if runtime.GOOS == "linux" {
		require.LessOrEqual(t, got.Peak, budget*5/4)
	}
	for k, a := range f.results() {
		require.Equal(t, tally{k, f.numbers[k], f.numbers[k], nil}, a)
	}
}
