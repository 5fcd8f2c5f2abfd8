package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/millstream-go/millstream/benchmarks/peers/by-hand/internal/bench"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const partitions = 4 // of every topic here

// work is one workload: what becomes of a record, and of the dirty state when the interval is over.
type work interface {
	add(r *kgo.Record)
	// commit writes what is dirty to the changelog and to Pebble, before the transaction ends.
	commit()
}

// topics are the names that one run uses.
type topics struct {
	id                          string
	in                          []string
	counted                     []string // their records are the ones counted as processed
	out, changelog, repartition string
}

func defaultInput() string {
	switch *mode {
	case "w4-txn":
		return "jleft,jright"
	case "restore":
		return "kv"
	}
	return "events"
}

func withKafka(ctx context.Context) {
	if *in == "" {
		*in = defaultInput()
	}
	conn, err := bench.ConnOpts()
	must(err)
	cl, err := kgo.NewClient(conn...)
	must(err)
	defer cl.Close()
	adm := kadm.NewClient(cl)

	id := fmt.Sprintf("limit-%s-%d", *mode, time.Now().UnixNano())
	t := topics{id: id, in: strings.Split(*in, ","), out: id + "-out", changelog: id + "-changelog", repartition: id + "-repartition"}
	t.counted = t.in
	if *mode == "w3-txn" { // counted behind the repartition topic, where the work ends
		t.in, t.counted = append(t.in, t.repartition), []string{t.repartition}
	}
	temporary := []string{t.changelog, t.repartition}
	if *outFix == "" {
		temporary = append(temporary, t.out)
	} else {
		t.out = *outFix
		_, err := adm.CreateTopic(ctx, partitions, -1, nil, t.out)
		if !errors.Is(err, kerr.TopicAlreadyExists) {
			must(err)
		}
	}
	_, err = adm.CreateTopics(ctx, partitions, -1, nil, temporary...)
	must(err)
	defer adm.DeleteTopics(ctx, temporary...)

	reset := kgo.NewOffset().AtStart()
	if *atEnd {
		reset = kgo.NewOffset().AtEnd()
	}
	opts := append(slices.Clone(conn), kgo.ConsumerGroup(id), kgo.ConsumeTopics(t.in...), kgo.ConsumeResetOffset(reset),
		kgo.DisableAutoCommit(), kgo.ProducerBatchCompression(kgo.Lz4Compression()), kgo.ProducerLinger(*linger),
		kgo.ProducerBatchMaxBytes(512<<10), kgo.MaxBufferedRecords(500_000), kgo.DefaultProduceTopic(t.out),
		kgo.RecordPartitioner(partitioner(t.changelog)), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.MetadataMinAge(100*time.Millisecond)) // else a topic first written after the start waits for 5 s

	switch *mode {
	case "restore":
		restore(ctx, opts)
	case "consume", "w1-plain":
		plain(ctx, opts)
	case "w1-txn", "w2-txn", "w3-txn", "w4-txn", "w5-txn":
		transactional(ctx, opts, conn, t)
	default:
		log.Fatalf("unknown -mode %q", *mode)
	}
}

// partitioner sends a changelog record to the partition of the task that it belongs to, and any other where its key
// belongs by Kafka's own rule.
func partitioner(changelog string) kgo.Partitioner {
	return kgo.BasicConsistentPartitioner(func(topic string) func(*kgo.Record, int) int {
		if topic == changelog {
			return func(r *kgo.Record, _ int) int { return int(r.Partition) }
		}
		return func(r *kgo.Record, n int) int { return int(bench.Partition(r.Key, n)) }
	})
}

// producer is a client or a transactional session.
type producer interface {
	Produce(context.Context, *kgo.Record, func(*kgo.Record, error))
}

func acknowledged(_ *kgo.Record, err error) { must(err) }

// mapped is W1: keep kind < 12, double the amount.
type mapped struct {
	ctx context.Context
	p   producer
}

func (m mapped) add(r *kgo.Record) {
	if binary.BigEndian.Uint32(r.Value[bench.OffKind:]) >= 12 {
		return
	}
	v := append(make([]byte, 0, len(r.Value)), r.Value...)
	binary.BigEndian.PutUint32(v[bench.OffAmount:], 2*binary.BigEndian.Uint32(v[bench.OffAmount:]))
	outs++
	m.p.Produce(m.ctx, &kgo.Record{Key: r.Key, Value: v, Timestamp: r.Timestamp}, acknowledged)
}

func (mapped) commit() {}

// enrich is W5: the record with 16 bytes of the table's row.
type enrich struct {
	ctx   context.Context
	p     producer
	table *pebble.DB
}

func newEnrich(ctx context.Context, p producer, conn []kgo.Opt) enrich {
	cl, err := kgo.NewClient(append(slices.Clone(conn), kgo.ConsumeTopics(*users), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	must(err)
	defer cl.Close()
	e := enrich{ctx: ctx, p: p, table: openPebble()}
	for have := 0; have < 10_000; {
		f := poll(ctx, cl.PollFetches)
		have += f.NumRecords()
		f.EachRecord(func(r *kgo.Record) { must(e.table.Set(r.Key, r.Value, pebble.NoSync)) })
	}
	return e
}

func (e enrich) add(r *kgo.Record) {
	u, c, err := e.table.Get(r.Key)
	if errors.Is(err, pebble.ErrNotFound) {
		return // an inner join
	}
	must(err)
	v := append(append(make([]byte, 0, len(r.Value)+16), r.Value...), u[bench.OffAmount:bench.OffAmount+16]...)
	must(c.Close())
	outs++
	e.p.Produce(e.ctx, &kgo.Record{Key: r.Key, Value: v, Timestamp: r.Timestamp}, acknowledged)
}

func (enrich) commit() {}

// transactional runs a workload exactly once: outputs, changelog and offsets of an interval in one transaction.
func transactional(ctx context.Context, opts, conn []kgo.Opt, t topics) {
	s, err := kgo.NewGroupTransactSession(append(opts, kgo.TransactionalID(t.id),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.RequireStableFetchOffsets())...)
	must(err)
	defer s.Close()
	var w work
	switch *mode {
	case "w1-txn":
		w = mapped{ctx, s}
	case "w2-txn":
		w = newCounter(ctx, s, t.changelog)
	case "w3-txn":
		w = &rekeyed{counter: newCounter(ctx, s, t.changelog), topic: t.repartition}
	case "w4-txn":
		if len(t.in) != 2 {
			log.Fatal("w4-txn needs -in LEFT,RIGHT")
		}
		w = newJoin(ctx, s, t.changelog, t.in[0])
	case "w5-txn":
		w = newEnrich(ctx, s, conn)
	}
	open, last := false, time.Now()
	for open || !finished() {
		f := poll(ctx, func(c context.Context) kgo.Fetches { return s.PollRecords(c, 10_000) })
		if !open && f.NumRecords() > 0 {
			must(s.Begin())
			open = true
		}
		f.EachPartition(func(p kgo.FetchTopicPartition) {
			for _, r := range p.Records {
				w.add(r)
			}
			if slices.Contains(t.counted, p.Topic) {
				progress(len(p.Records))
			}
		})
		if open && (finished() || time.Since(last) >= *every) {
			w.commit()
			committed, err := s.End(ctx, kgo.TryCommit)
			must(err)
			if !committed {
				log.Fatal("the group rebalanced and the transaction was aborted: run it alone")
			}
			open, last = false, time.Now()
		}
	}
}

// plain is W1 at least once, or only the reading.
func plain(ctx context.Context, opts []kgo.Opt) {
	cl, err := kgo.NewClient(opts...)
	must(err)
	defer cl.Close()
	w := mapped{ctx, cl}
	last := time.Now()
	commit := func() {
		must(cl.Flush(ctx))
		must(cl.CommitUncommittedOffsets(ctx))
		last = time.Now()
	}
	for !finished() {
		f := poll(ctx, func(c context.Context) kgo.Fetches { return cl.PollRecords(c, 10_000) })
		if *mode == "w1-plain" {
			f.EachRecord(w.add)
		}
		progress(f.NumRecords())
		if time.Since(last) >= *every {
			commit()
		}
	}
	commit()
}
