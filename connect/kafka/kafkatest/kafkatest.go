// Package kafkatest runs a Kafka broker inside the process, for tests, examples and a first look. It is a fake that
// speaks the real protocol, transactions and consumer groups included; it replicates nothing, and is not for production.
package kafkatest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream-go/millstream/source"
)

// Broker is a running broker.
type Broker struct {
	// Cluster is the fake itself, to inject faults and look inside.
	Cluster *kfake.Cluster
}

// Start runs a broker on a free port of the loopback interface, with these topics and their numbers of partitions. If
// dir is not empty, topics, records and positions are kept there, and a later Start finds them again; topics that exist
// already keep their partitions. Options are the fake's own.
func Start(dir string, topics map[string]int32, opts ...kfake.Opt) (*Broker, error) {
	all := []kfake.Opt{kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(100 * time.Millisecond),
		kfake.BrokerConfigs(map[string]string{"default.replication.factor": "1"})}
	if dir != "" {
		all = append(all, kfake.DataDir(dir))
	}
	c, err := kfake.NewCluster(append(all, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("start the in-process broker: %w", err)
	}
	b := &Broker{c}
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		if c.TopicInfo(name) != nil {
			continue
		}
		if err := c.CreateTopic(name, topics[name], nil); err != nil {
			b.Close()
			return nil, fmt.Errorf("create topic %q: %w", name, err)
		}
	}
	return b, nil
}

// Addrs are the addresses to connect to.
func (b *Broker) Addrs() []string { return b.Cluster.ListenAddrs() }

// Close stops the broker. What was kept in its directory stays.
func (b *Broker) Close() { b.Cluster.Close() }

// Record is a record to write, or one that was read. With Partition -1 the key decides about the partition.
type Record struct {
	Topic      string
	Partition  int32
	Key, Value []byte
	Headers    []source.Header
	Time       time.Time
	Offset     int64 // when read
}

// Produce writes records and returns when all are acknowledged. It creates a client for it: it is meant for a few
// records, or for many at once.
func (b *Broker) Produce(ctx context.Context, recs ...Record) error {
	return Produce(ctx, b.Addrs(), recs...)
}

// Consume reads the first n committed records of a topic, ordered by partition and offset. It waits for those that are
// not there yet, until ctx ends.
func (b *Broker) Consume(ctx context.Context, topic string, n int) ([]Record, error) {
	return Consume(ctx, b.Addrs(), topic, n)
}

// Produce is Broker.Produce for any broker without security.
func Produce(ctx context.Context, brokers []string, recs ...Record) error {
	p := kgo.ManualPartitioner()
	hash := kgo.StickyKeyPartitioner(nil)
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(either{p, hash}))
	if err != nil {
		return err
	}
	defer cl.Close()
	out := make([]*kgo.Record, len(recs))
	for i, r := range recs {
		k := &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Timestamp: r.Time}
		for _, h := range r.Headers {
			k.Headers = append(k.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		out[i] = k
	}
	if err := cl.ProduceSync(ctx, out...).FirstErr(); err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	return nil
}

// either chooses by hand where a partition is named, and by hash elsewhere.
type either struct{ manual, hash kgo.Partitioner }

func (e either) ForTopic(t string) kgo.TopicPartitioner {
	return eitherTopic{e.manual.ForTopic(t), e.hash.ForTopic(t)}
}

type eitherTopic struct{ manual, hash kgo.TopicPartitioner }

func (e eitherTopic) RequiresConsistency(*kgo.Record) bool { return true }

func (e eitherTopic) Partition(r *kgo.Record, n int) int {
	if r.Partition >= 0 {
		return e.manual.Partition(r, n)
	}
	return e.hash.Partition(r, n)
}

// Consume is Broker.Consume for any broker without security.
func Consume(ctx context.Context, brokers []string, topic string, n int) ([]Record, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	var recs []Record
	for len(recs) < n {
		f := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return recs, fmt.Errorf("consume %q: %d of %d records: %w", topic, len(recs), n, err)
		}
		if err := f.Err(); err != nil {
			return recs, fmt.Errorf("consume %q: %w", topic, err)
		}
		f.EachRecord(func(r *kgo.Record) {
			rec := Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Time: r.Timestamp, Offset: r.Offset}
			for _, h := range r.Headers {
				rec.Headers = append(rec.Headers, source.Header{Key: h.Key, Value: h.Value})
			}
			recs = append(recs, rec)
		})
	}
	slices.SortFunc(recs, func(a, b Record) int {
		if a.Partition != b.Partition {
			return int(a.Partition - b.Partition)
		}
		return int(a.Offset - b.Offset)
	})
	return recs, nil
}
