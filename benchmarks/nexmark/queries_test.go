package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

var oracle = flag.Bool("oracle", false, "run all queries on the 2,000,000 events of the oracle, which takes minutes")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// figuresOf runs a query.
func figuresOf(t *testing.T, r run) figures {
	t.Helper()
	r.dir, r.memory = t.TempDir(), 64<<20
	f, err := r.do(t.Context())
	require.NoError(t, err, "%s", r.query)
	return f
}

// check compares figures with what they should be.
func check(t *testing.T, want result, f figures) {
	t.Helper()
	require.Equal(t, fmt.Sprintf("%d rows, hash %016x", want.rows, want.sum), fmt.Sprintf("%d rows, hash %s", f.Rows, f.Hash),
		"%s, %d events, jitter %d, %d workers", f.Query, f.Events, f.JitterMS, f.Workers)
}

// bids is the number of bids among the first events.
func bids(events uint64) uint64 { return events/50*46 + max(events%50, 4) - 4 }

// Every query gives what its definition says, in order and out of order, with any number of workers, however often
// epochs end.
func TestQueries(t *testing.T) {
	for _, r := range []run{
		{events: 121_003, jitter: 0, workers: 2},
		{events: 121_003, jitter: 1000, workers: 3},
		{events: 23_517, jitter: 1000, workers: 1, every: 5000},
		{events: 23_517, jitter: 300, workers: 2, every: 999},
		{events: 3, jitter: 0, workers: 4},
	} {
		want := recompute(r.events, r.jitter)
		t.Run(fmt.Sprintf("%d events, jitter %d, %d workers, epochs of %d", r.events, r.jitter, r.workers, r.every), func(t *testing.T) {
			for _, r.query = range names() {
				t.Run(r.query, func(t *testing.T) {
					t.Parallel() // a run waits for disks most of the time
					f := figuresOf(t, r)
					if r.query == "q12" {
						require.Equal(t, bids(r.events), f.Counted, "each bid is counted once")
						require.LessOrEqual(t, f.Rows, bids(r.events))
					} else {
						check(t, want[r.query], f)
					}
					if r.every > 0 {
						require.InDelta(t, r.events/r.every+1, f.Epochs, 2, "%s: epochs", r.query)
					}
				})
			}
		})
	}
}

// The recomputation itself, and with it the queries, agree with other programs' results at 2,000,000 events.
func TestOracle(t *testing.T) {
	if !*oracle {
		t.Skip("without -oracle")
	}
	for _, jitter := range []uint64{0, 1000} {
		want := recorded(t, jitter)
		require.Equal(t, want, recompute(2_000_000, jitter))
		for _, query := range names() {
			f := figuresOf(t, run{query: query, events: 2_000_000, jitter: jitter, workers: 2})
			if query == "q12" {
				require.Equal(t, bids(2_000_000), f.Counted)
				continue
			}
			check(t, want[query], f)
		}
	}
}

// recorded are the results of testdata/oracle-2M.json.
func recorded(t *testing.T, jitter uint64) map[string]result {
	t.Helper()
	b, err := os.ReadFile("testdata/oracle-2M.json")
	require.NoError(t, err)
	var file struct {
		N       uint64
		Queries map[string]map[string]struct {
			Rows uint64
			Hash string
		}
	}
	require.NoError(t, json.Unmarshal(b, &file))
	require.Equal(t, uint64(2_000_000), file.N)
	want := map[string]result{}
	for query, of := range file.Queries {
		r := of[fmt.Sprintf("j%d", jitter)]
		var sum uint64
		_, err := fmt.Sscanf(r.Hash, "%x", &sum)
		require.NoError(t, err)
		want[query] = result{r.Rows, sum}
	}
	require.Len(t, want, len(queries)-1, "all but q12")
	return want
}

// What is wrong with the flags is told.
func TestWrongFlags(t *testing.T) {
	_, err := run{query: "q6", events: 1}.do(t.Context())
	require.EqualError(t, err, `there is no query "q6": it is one of q0, q1, q2, q3, q4, q5, q7, q8, q9, q11, q12, q13, q18, q20`)
	_, err = run{query: "q1"}.do(t.Context())
	require.EqualError(t, err, "-events is 0: it must be at least 1")
}
