// lag watches how far a consumer group is behind the end of a topic. It ends when -total records are in the topic and
// the group has committed all of them, or after -for, and prints one line of JSON: the largest lag that was seen, how
// long it was above -high, and the lag at the end. Without JSON on stdout it also tells each second on stderr.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/millstream-go/millstream/benchmarks/peers/by-hand/internal/bench"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	topic := flag.String("topic", "", "")
	group := flag.String("group", "", "")
	total := flag.Int64("total", 0, "records that the topic will have")
	high := flag.Int64("high", 100, "a lag above this counts as lag")
	limit := flag.Duration("for", 2*time.Minute, "give up after this")
	flag.Parse()
	conn, err := bench.ConnOpts()
	must(err)
	cl, err := kgo.NewClient(conn...)
	must(err)
	defer cl.Close()
	adm := kadm.NewClient(cl)
	ctx, cancel := context.WithTimeout(context.Background(), *limit)
	defer cancel()

	var peak, now, end int64
	var behind time.Duration
	const every = 100 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := 0; ; i++ {
		now, end, err = lag(ctx, adm, *topic, *group)
		if err != nil && ctx.Err() == nil {
			log.Fatal(err)
		}
		peak = max(peak, now)
		if now > *high {
			behind += every
		}
		if i%10 == 0 {
			fmt.Fprintf(os.Stderr, "%d records, lag %d\n", end, now)
		}
		if end >= *total && now == 0 || ctx.Err() != nil {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	fmt.Printf(`{"records":%d,"peak_lag":%d,"lag_s":%.1f,"final_lag":%d}`+"\n", end, peak, behind.Seconds(), now)
	if now > 0 || end < *total {
		os.Exit(1)
	}
}

// lag is how many records the group has not committed, and how many there are. A partition without a commit counts from
// its start.
func lag(ctx context.Context, adm *kadm.Client, topic, group string) (lag, end int64, err error) {
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return 0, 0, err
	}
	committed, err := adm.FetchOffsets(ctx, group)
	if err != nil {
		return 0, 0, err
	}
	ends.Each(func(o kadm.ListedOffset) {
		at := int64(0)
		if c, ok := committed.Lookup(topic, o.Partition); ok {
			at = max(0, c.At)
		}
		end, lag = end+o.Offset, lag+o.Offset-at
	})
	return lag, end, ends.Error()
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
