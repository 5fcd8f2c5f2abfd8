package e2e_test

import (
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/millstream-go/millstream/connect/kafka/kafkatest"
	"github.com/millstream-go/millstream/stream"
)

// The tests of this file are not parallel: one restarts the broker, the other measures memory.

// An application goes through an outage of its broker by itself. A real broker is restarted with KAFKA_SH_DIR, which is
// where scripts/kafka.sh has it.
func TestOutage(t *testing.T) {
	slow(t)
	var b *broker
	var restart func()
	if integration() {
		dir := os.Getenv("KAFKA_SH_DIR")
		require.NotEmpty(t, dir, "KAFKA_SH_DIR must be the directory of the broker that scripts/kafka.sh has started")
		b = start(t, totalsTopics())
		restart = func() {
			out, err := exec.CommandContext(waitContext(t), "bash", "../../scripts/kafka.sh", "restart", "--dir", dir).CombinedOutput()
			require.NoError(t, err, string(out))
		}
	} else {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		_, port, err := net.SplitHostPort(l.Addr().String())
		require.NoError(t, err)
		require.NoError(t, l.Close())
		n, err := strconv.Atoi(port)
		require.NoError(t, err)
		dir := t.TempDir()
		var fake *kafkatest.Broker
		open := func() {
			fake, err = kafkatest.Start(dir, totalsTopics(), kfake.Ports(n))
			require.NoError(t, err)
		}
		open()
		t.Cleanup(func() { fake.Close() })
		b = &broker{addrs: fake.Addrs()}
		restart = func() { fake.Close(); open() }
	}
	s := newShop(20)
	b.write(t, s.orders(t, 30)...)
	in := run(t, totals(b), b.config(t.TempDir()))
	s.check(t, b, false)
	b.write(t, s.orders(t, 100)...) // what of it is processed when the broker goes does not matter
	restart()
	b.write(t, s.orders(t, 30)...)
	s.check(t, b, false)
	restart()
	b.write(t, s.end(t)...)
	s.check(t, b, true)
	in.stop(t)
	s.check(t, b, true)
}

// A burst of a thousand times the usual rate is worked off, within the memory budget. What is measured is by how much the
// live heap of this process grows, as the collector found it: without garbage, but with the test's own records and, by
// default, the broker with all of its. The heap in use, garbage included, is logged.
func TestBurst(t *testing.T) {
	slow(t)
	phase, perTick := 2*time.Second, 500
	if integration() {
		phase, perTick = 10*time.Second, 1000
	}
	b, s := start(t, totalsTopics()), newShop(21)
	c := b.config(t.TempDir())
	in := run(t, totals(b), c)
	in.tasks(t, 6)
	runtime.GC()
	before, inUse := heap()
	peak, peakInUse := before, inUse
	done := make(chan struct{})
	var measure sync.WaitGroup
	measure.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				live, inUse := heap()
				peak, peakInUse = max(peak, live), max(peakInUse, inUse)
			case <-done:
				return
			}
		}
	})
	maxLag := int64(0)
	for _, n := range []int{1, perTick, 1} {
		tick := time.NewTicker(100 * time.Millisecond)
		for range phase / (100 * time.Millisecond) {
			<-tick.C
			b.write(t, s.orders(t, (n+2)/3)...)
			st, err := in.Status(t.Context())
			require.NoError(t, err)
			maxLag = max(maxLag, lag(st))
		}
		tick.Stop()
	}
	total := len(s.all)
	in.until(t, "all records read and no lag", func(st stream.Status) bool {
		return lag(st) == 0 && sum(st, records) >= uint64(total)
	})
	close(done)
	measure.Wait()
	t.Logf("%d records, largest lag %d, live heap from %d to at most %d MiB, in use from %d to %d MiB, budget %d MiB",
		total, maxLag, before>>20, peak>>20, inUse>>20, peakInUse>>20, c.MemoryBudget>>20)
	assert.Less(t, int64(peak-before), c.MemoryBudget, "growth of the live heap")
	s.check(t, b, false)
	in.stop(t)
}

// heap returns what the last collection left alive, and what of the heap is in use now.
func heap() (live, inUse uint64) {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64(), s[1].Value.Uint64() + s[2].Value.Uint64()
}

func lag(s stream.Status) (n int64) {
	for _, k := range s.Tasks {
		n += k.Lag
	}
	return n
}
