package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// cluster asks the broker what the driver wants to know.
type cluster struct {
	brokers []string
	prefix  string
	adm     *kadm.Client
	parts   map[string]int32 // of the topics
}

func connectTo(brokers []string, prefix string) (*cluster, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return nil, err
	}
	return &cluster{brokers, prefix, kadm.NewClient(cl), maps.Clone(partitions)}, nil
}

func (c *cluster) topic(name string) string { return c.prefix + "-" + name }

func (c *cluster) createTopics(ctx context.Context) error {
	for name, n := range c.parts {
		if _, err := c.adm.CreateTopic(ctx, n, -1, nil, c.topic(name)); err != nil {
			return fmt.Errorf("create topic %s: %w", c.topic(name), err)
		}
	}
	for { // until the broker lists what the controller has made
		listed, err := c.adm.ListTopics(ctx)
		if err != nil {
			return err
		}
		there := 0
		for name := range c.parts {
			if listed.Has(c.topic(name)) {
				there++
			}
		}
		if there == len(c.parts) {
			return nil
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

func (c *cluster) deleteTopics(ctx context.Context) {
	listed, err := c.adm.ListTopics(ctx)
	if err != nil {
		return
	}
	var names []string
	for _, t := range listed.Names() {
		if strings.HasPrefix(t, c.prefix+"-") {
			names = append(names, t)
		}
	}
	_, _ = c.adm.DeleteTopics(ctx, names...)
}

// ask asks until there is an answer: a broker that has been away may cut a connection yet that the client takes for good.
func ask[T any](ctx context.Context, doing string, f func() (T, error)) (T, error) {
	for end := time.Now().Add(15 * time.Second); ; {
		answer, err := f()
		if err == nil {
			return answer, nil
		}
		if time.Now().After(end) || pause(ctx, 500*time.Millisecond) != nil {
			return answer, fmt.Errorf("%s: %w", doing, err)
		}
	}
}

func (c *cluster) topics(ctx context.Context) (kadm.TopicDetails, error) {
	return ask(ctx, "list the topics", func() (kadm.TopicDetails, error) { return c.adm.ListTopics(ctx) })
}

// offsets is a question for ask: one of the client's lists, none of which has failed for a partition.
func offsets(ctx context.Context, list func(context.Context, ...string) (kadm.ListedOffsets, error), topics ...string) func() (kadm.ListedOffsets, error) {
	return func() (kadm.ListedOffsets, error) {
		l, err := list(ctx, topics...)
		return l, cmp.Or(err, l.Error())
	}
}

// inputs are the topics whose positions the application commits: those that are sent to, and its own.
func (c *cluster) inputs(ctx context.Context) ([]string, error) {
	names := []string{c.topic(topicIn), c.topic(topicKeyed)}
	listed, err := c.topics(ctx)
	for _, t := range listed.Names() {
		if strings.HasPrefix(t, c.prefix+"-") && strings.HasSuffix(t, "-repartition") {
			names = append(names, t)
		}
	}
	return names, err
}

// lag is the number of offsets that the application has not processed, of all its inputs. Unstable says that a
// transaction is open in one of them.
func (c *cluster) lag(ctx context.Context) (lag int64, unstable bool, err error) {
	inputs, err := c.inputs(ctx)
	if err != nil {
		return 0, false, err
	}
	ends, err := ask(ctx, "list the ends of the inputs", offsets(ctx, c.adm.ListEndOffsets, inputs...))
	if err != nil {
		return 0, false, err
	}
	stable, err := ask(ctx, "list the stable ends of the inputs", offsets(ctx, c.adm.ListCommittedOffsets, inputs...))
	if err != nil {
		return 0, false, err
	}
	done, err := ask(ctx, "fetch the group's offsets", func() (kadm.OffsetResponses, error) { return c.adm.FetchOffsets(ctx, c.prefix) })
	if err != nil {
		return 0, false, err
	}
	ends.Each(func(o kadm.ListedOffset) {
		at := int64(0)
		if d, ok := done.Lookup(o.Topic, o.Partition); ok && d.Err == nil {
			at = d.At
		}
		lag += o.Offset - at
		if s, ok := stable.Lookup(o.Topic, o.Partition); ok && s.Offset < o.Offset {
			unstable = true
		}
	})
	return lag, unstable, nil
}

// drained waits until everything is processed and committed. It gives up when there was no progress for as long as
// patience.
func (c *cluster) drained(ctx context.Context, f *fleet, patience time.Duration) error {
	least, since := int64(1<<62), time.Now()
	for {
		lag, unstable, err := c.lag(ctx)
		if err != nil {
			return err
		}
		if lag == 0 && !unstable {
			return nil
		}
		if lag < least {
			least, since = lag, time.Now()
		}
		if err := f.Trouble(); err != nil {
			return err
		}
		if time.Since(since) > patience {
			return fmt.Errorf("the application does not get on: %d offsets are left, and for %v none was processed", lag, patience)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// pause waits, unless ctx ends or d is over already.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// read returns all committed records of a topic, by partition, as a reader of the results would see them.
func (c *cluster) read(ctx context.Context, topic string) ([][]*kgo.Record, error) {
	ends, err := ask(ctx, "list the ends of "+topic, offsets(ctx, c.adm.ListEndOffsets, topic))
	if err != nil {
		return nil, err
	}
	starts, err := ask(ctx, "list the beginnings of "+topic, offsets(ctx, c.adm.ListStartOffsets, topic))
	if err != nil {
		return nil, err
	}
	at := map[int32]int64{}
	left := 0
	ends.Each(func(o kadm.ListedOffset) {
		at[o.Partition] = o.Offset
		if s, _ := starts.Lookup(topic, o.Partition); o.Offset > s.Offset {
			left++
		}
	})
	out := make([][]*kgo.Record, len(at))
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	done := map[int32]bool{}
	for len(done) < left {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("read %s: %d of %d partitions to their ends: %w", topic, len(done), left, ctx.Err())
		}
		for _, e := range fs.Errors() {
			if !errors.Is(e.Err, context.Canceled) {
				return nil, fmt.Errorf("read %s/%d: %w", topic, e.Partition, e.Err)
			}
		}
		fs.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				out[r.Partition] = append(out[r.Partition], r)
			}
			if r.Offset+1 >= at[r.Partition] {
				done[r.Partition] = true
			}
		})
	}
	return out, nil
}

// dump writes the topics of a run as text, for who looks for the reason of a fault.
func (c *cluster) dump(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	listed, err := c.adm.ListTopics(ctx)
	if err != nil {
		return err
	}
	for _, t := range listed.Names() {
		if !strings.HasPrefix(t, c.prefix+"-") {
			continue
		}
		parts, err := c.read(ctx, t)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		for _, recs := range parts {
			for _, r := range recs {
				fmt.Fprintf(&b, "%d %d %s producer=%d/%d %q %q\n", r.Partition, r.Offset, r.Timestamp.UTC().Format(time.RFC3339Nano), r.ProducerID, r.ProducerEpoch, r.Key, r.Value)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, t+".txt"), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}
