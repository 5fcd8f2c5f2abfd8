package kafka

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/source"
)

const (
	earliestOffset int64 = -2
	latestOffset   int64 = -1
)

func (s *session) topicID(name string) [16]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.topics[name].id
}

// listOffsets asks for the earliest or latest offset of partitions; stable takes open transactions as the end.
func (s *session) listOffsets(ctx context.Context, parts []source.Partition, which int64, stable bool) (map[source.Partition]int64, error) {
	offsets := make(map[source.Partition]int64, len(parts))
	left := parts
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		req := kmsg.NewPtrListOffsetsRequest()
		if stable {
			req.IsolationLevel = 1
		}
		for t, ps := range byTopic(left) {
			rt := kmsg.NewListOffsetsRequestTopic()
			rt.Topic = t
			for _, p := range ps {
				rp := kmsg.NewListOffsetsRequestTopicPartition()
				rp.Partition, rp.Timestamp = p, which
				rt.Partitions = append(rt.Partitions, rp)
			}
			req.Topics = append(req.Topics, rt)
		}
		var last error
		for _, shard := range s.data.RequestSharded(ctx, req) {
			if shard.Err != nil {
				last = shard.Err
				continue
			}
			for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
				for _, p := range t.Partitions {
					if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
						if last = fmt.Errorf("%s/%d: %w", t.Topic, p.Partition, err); !kerr.IsRetriable(err) {
							return nil, fmt.Errorf("kafka: ask for offsets: %w", last)
						}
						continue
					}
					offsets[source.Partition{Stream: t.Topic, Index: p.Partition}] = p.Offset
				}
			}
		}
		if left = missing(parts, offsets); len(left) == 0 {
			return offsets, nil
		}
		if s.life.Err() != nil {
			return nil, errClosed
		}
		s.log.Debug("offsets are not available yet", "partitions", len(left), "error", last)
		if err := sleep(ctx, wait); err != nil {
			return nil, fmt.Errorf("kafka: ask for offsets of %v: %w", left, errors.Join(err, last))
		}
	}
}

func missing[V any](parts []source.Partition, have map[source.Partition]V) (left []source.Partition) {
	for _, p := range parts {
		if _, ok := have[p]; !ok {
			left = append(left, p)
		}
	}
	return left
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// hangingAfter is how long positions may stay unstable although no transaction is open that could make them so.
const hangingAfter = 10 * time.Second

// Committed reads positions, waiting for transactions that are still to decide about them.
func (s *session) Committed(ctx context.Context, parts []source.Partition) (map[source.Partition]connect.Committed, error) {
	if len(parts) == 0 {
		return nil, nil
	}
	since := time.Now()
	for wait := 2 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		found, unstable, err := s.fetchCommitted(ctx, parts)
		if err != nil {
			return nil, err
		}
		if len(unstable) == 0 {
			s.mu.Lock()
			for p, c := range found {
				s.committed[p] = c.Position
			}
			s.mu.Unlock()
			return found, nil
		}
		if time.Since(since) > hangingAfter {
			if err := s.hanging(ctx, unstable); err != nil {
				return nil, err
			}
			since = time.Now()
		}
		if err := sleep(ctx, wait); err != nil {
			return nil, fmt.Errorf("kafka: wait for the committed positions of %v, which a transaction keeps open: %w", unstable, err)
		}
	}
}

func (s *session) fetchCommitted(ctx context.Context, parts []source.Partition) (found map[source.Partition]connect.Committed, unstable []source.Partition, err error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.RequireStable = true
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = s.app.ID
	for t, ps := range byTopic(parts) {
		rt := kmsg.NewOffsetFetchRequestGroupTopic()
		rt.Topic, rt.TopicID, rt.Partitions = t, s.topicID(t), ps
		g.Topics = append(g.Topics, rt)
	}
	req.Groups = append(req.Groups, g)
	resp, err := req.RequestWith(ctx, s.data)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err == nil && len(resp.Groups) != 1 {
		err = fmt.Errorf("the broker answered for %d groups", len(resp.Groups))
	}
	if err == nil {
		err = kerr.ErrorForCode(resp.Groups[0].ErrorCode)
	}
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil, nil, nil // the first start: no group yet, no commits
	}
	if err != nil {
		return nil, nil, fmt.Errorf("kafka: read the committed positions of group %q: %w", s.app.ID, err)
	}
	found = map[source.Partition]connect.Committed{}
	answered := map[source.Partition]bool{}
	for _, t := range resp.Groups[0].Topics {
		for _, rp := range t.Partitions {
			p := source.Partition{Stream: s.topicName(t.Topic, t.TopicID), Index: rp.Partition}
			answered[p] = true
			switch err := kerr.ErrorForCode(rp.ErrorCode); {
			case errors.Is(err, kerr.UnstableOffsetCommit):
				unstable = append(unstable, p)
			case err != nil:
				return nil, nil, fmt.Errorf("kafka: read the committed position of %v: %w", p, err)
			case rp.Offset >= 0:
				c := connect.Committed{Position: source.At(rp.Offset)}
				if rp.Metadata != nil {
					if c.Metadata, err = s.untag(p, *rp.Metadata); err != nil {
						return nil, nil, err
					}
				}
				found[p] = c
			}
		}
	}
	if left := missing(parts, answered); len(left) > 0 {
		return nil, nil, fmt.Errorf("kafka: the broker gave no committed positions for %v", left)
	}
	return found, unstable, nil
}

// A position's metadata ends with the id of the topic that it belongs to: a topic that was deleted and created again has
// its name, and soon enough records at the same offsets, but not the ones that were read.
const topicTag = " topic="

// tag adds to a position's metadata which topic it belongs to.
func (s *session) tag(c *connect.PositionCommit) *string {
	m := c.Metadata
	if id := s.topicID(c.Partition.Stream); id != [16]byte{} {
		m += topicTag + base64.RawURLEncoding.EncodeToString(id[:])
	}
	return &m
}

// untag takes that away again, and refuses a position of another topic.
func (s *session) untag(p source.Partition, metadata string) (string, error) {
	rest, tag, ok := strings.Cut(metadata, topicTag)
	if id := s.topicID(p.Stream); ok && id != [16]byte{} && tag != base64.RawURLEncoding.EncodeToString(id[:]) {
		return "", fmt.Errorf("%w: kafka: the committed position of %v belongs to another topic of that name, which was deleted: "+
			"state and positions are about records that are gone. Reset the application, or restore the topic", connect.ErrRecreated, p)
	}
	return rest, nil
}

func (s *session) topicName(name string, id [16]byte) string {
	if name != "" {
		return name
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, t := range s.topics {
		if t.id == id {
			return n
		}
	}
	return ""
}

// hanging returns an error if none of the application's transactions is open, so that none will ever decide about the
// unstable positions: the coordinator has forgotten to write its markers. Producing with that id would make it worse.
func (s *session) hanging(ctx context.Context, unstable []source.Partition) error {
	listed, err := s.adm.ListTransactions(ctx, nil, []string{"Ongoing", "PrepareCommit", "PrepareAbort", "PrepareEpochFence"})
	if err != nil {
		s.log.Warn("committed positions stay undecided, and transactions cannot be listed", "partitions", fmt.Sprint(unstable), "error", err)
		return nil
	}
	for id := range listed {
		if strings.HasPrefix(id, s.app.ID+"-") {
			s.log.Info("waiting for an open transaction before the positions are read", "transaction", id, "partitions", fmt.Sprint(unstable))
			return nil
		}
	}
	return fmt.Errorf("%w: kafka: hanging transaction: the positions of %v in group %q have been undecided for %v, but no transaction of the application is open. "+
		"The transaction coordinator lost its markers. Find the partitions with kafka-transactions.sh --bootstrap-server %s find-hanging --broker-id <n>, and end the transaction with its abort command",
		connect.ErrStop, unstable, s.app.ID, hangingAfter, s.cluster.Brokers[0])
}
