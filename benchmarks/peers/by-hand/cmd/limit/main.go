// limit measures what the parts cost without an engine: franz-go and Pebble in loops written by hand, on the same topics
// and with the same outputs as the engines. What it needs is what an engine cannot go below.
//
//	consume     read and count
//	w1-plain    W1: read, filter, map, write; offsets committed every interval after a flush (at least once)
//	w1-txn      the same, exactly once: in transactions of one interval
//	w2-txn      W2: windowed count; dirty entries in a map over Pebble, changelog, output
//	w3-txn      W3: the same behind a repartition topic that carries the full value
//	w4-txn      W4: windowed inner join of two topics, both sides kept in memory, in Pebble and in the changelog
//	w5-txn      W5: stream-table enrichment; the table in Pebble, one Get per record
//	restore     read a changelog-like topic (kv) from its start into Pebble
//	pebble-rmw  no Kafka: get, add one, set through an indexed batch, committed every interval
//	pebble-wb   no Kafka: get only on the first touch in an interval, then one batch (write-back)
//
// The stateful loops write the changelog that an exactly-once engine with a write-back cache writes: one record per
// entry changed in the interval, and one epoch marker per commit and partition touched. With -changelog update they
// write one per update instead, as engines without such a cache do.
//
// It prints one RESULT line, or with -json one JSON line.
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	mode      = flag.String("mode", "w1-txn", "what to run, see the package comment")
	in        = flag.String("in", "", "input topic, w4: two, with a comma; default events, jleft,jright or kv")
	n         = flag.Int("n", 2_000_000, "input records: it ends when they are processed and committed; w4: of both sides")
	every     = flag.Duration("commit", 100*time.Millisecond, "commit interval")
	bpid      = flag.Int("brokerpid", 0, "process of the broker, whose CPU is reported too")
	all       = flag.Bool("all", false, "w2, w3: write every update to the output, not one per key and interval")
	changelog = flag.String("changelog", "commit", "w2, w3: commit = one record per entry and interval, update = one per update")
	dir       = flag.String("dir", "", "folder for Pebble; default: a temporary one")
	linger    = flag.Duration("linger", 5*time.Millisecond, "producer linger")
	hold      = flag.Duration("seconds", 0, "run for this long instead of until -n")
	outFix    = flag.String("out", "", "output topic, kept; default: a new one, deleted at the end")
	users     = flag.String("users", "users", "w5: the table's topic, 10,000 records")
	atEnd     = flag.Bool("at-end", false, "start at the end of the input")
	asJSON    = flag.Bool("json", false, "print the figures as one line of JSON")
)

func main() {
	flag.Parse()
	if *changelog != "commit" && *changelog != "update" {
		log.Fatal("-changelog must be commit or update")
	}
	t0 = time.Now()
	if *dir == "" {
		d, err := os.MkdirTemp("", "limit")
		must(err)
		defer os.RemoveAll(d)
		*dir = d
	}
	switch *mode {
	case "pebble-rmw", "pebble-wb":
		pebbleOnly(*mode == "pebble-wb")
	default:
		withKafka(context.Background())
	}
	report()
}

// poll waits at most 50 ms, so that the commit interval is kept when there is nothing to read.
func poll(ctx context.Context, p func(context.Context) kgo.Fetches) kgo.Fetches {
	c, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	f := p(c)
	for _, e := range f.Errors() {
		if e.Err != context.DeadlineExceeded {
			must(e.Err)
		}
	}
	return f
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
