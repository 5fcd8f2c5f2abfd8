package kafka

import (
	"context"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millstream-go/millstream/source"
)

// Quiet times. The profile Throughput asks every broker for records a hundred times a second, so that a partition that is
// started is not read only after a long fetch that was under way before it. Where nothing comes that is most of what an
// application does, and what its brokers hear of it. So after a second of nothing the partitions are watched instead: by
// one plain fetch for each broker, which waits long, while the reading client rests. What it sees is not used: the reading
// client fetches it. Nor does anything depend on it: an error ends the watch as a record does.

const (
	quietAfter = time.Second
	watchWait  = time.Second
	// The reading client is asked now and then, as it may have news of its own to tell: of records that were lost, say.
	watchFor = time.Minute
)

// poll returns what was fetched: nothing, if it was interrupted or if nothing came for a while.
func (s *session) poll(ctx context.Context) kgo.Fetches {
	if s.cluster.Profile != Throughput {
		return s.data.PollFetches(ctx)
	}
	wait, cancel := context.WithTimeout(ctx, quietAfter)
	defer cancel()
	fetches := s.data.PollFetches(wait)
	if wait.Err() != nil && ctx.Err() == nil && fetches.NumRecords() == 0 {
		s.watch(ctx)
	}
	return fetches
}

// watch returns when there may be something to read, when Run is to look at its conditions, or when ctx ends.
func (s *session) watch(ctx context.Context) {
	parts := s.watched()
	if len(parts) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, watchFor)
	defer cancel()
	// Pausing topics is apart from pausing partitions, which the handler does.
	topics := s.inputs()
	s.data.PauseFetchTopics(topics...)
	defer s.data.ResumeFetchTopics(topics...)
	cl, err := s.watching()
	var requests map[int32]*kmsg.FetchRequest
	if err == nil {
		requests, err = s.watchRequests(ctx, cl, parts)
	}
	if err != nil {
		s.log.Debug("cannot watch quiet partitions, going on with reading them", "error", err)
		return
	}
	over := make(chan struct{}, len(requests))
	for leader, req := range requests {
		go func() {
			s.watchBroker(ctx, cl.Broker(int(leader)), req)
			over <- struct{}{}
		}()
	}
	select {
	case <-over:
	case <-s.wake:
	case <-ctx.Done():
	}
}

// watching returns the client that watches. Its fetches have connections of their own.
func (s *session) watching() (cl *kgo.Client, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	if s.watcher == nil {
		s.watcher, err = s.restoring.open()
	}
	return s.watcher, err
}

// watchBroker returns when a broker has records or an error for one of the partitions that are asked for.
func (s *session) watchBroker(ctx context.Context, leader *kgo.Broker, req *kmsg.FetchRequest) {
	for ctx.Err() == nil {
		raw, err := leader.Request(ctx, req)
		if err != nil {
			s.log.Debug("cannot watch quiet partitions, going on with reading them", "error", err)
			return
		}
		resp := raw.(*kmsg.FetchResponse)
		if resp.ErrorCode != 0 {
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode != 0 || len(p.RecordBatches) > 0 {
					return
				}
			}
		}
	}
}

// inputs are the topics that the session reads.
func (s *session) inputs() []string {
	var topics []string
	for _, g := range s.app.Groups {
		topics = append(topics, g...)
	}
	return topics
}

// watched returns the partitions that are read, each with the offset that comes next.
func (s *session) watched() map[source.Partition]int64 {
	paused := s.data.PauseFetchPartitions(nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	parts := map[source.Partition]int64{}
	for p, c := range s.reading {
		if !slices.Contains(paused[p.Stream], p.Index) && !(c.bounded && c.next >= c.end) {
			parts[p] = c.next
		}
	}
	return parts
}

// watchRequests returns a fetch of the partitions that each broker leads.
func (s *session) watchRequests(ctx context.Context, cl *kgo.Client, parts map[source.Partition]int64) (map[int32]*kmsg.FetchRequest, error) {
	resp, err := metadataFor(s.inputs()...).RequestWith(ctx, cl)
	if err != nil {
		return nil, err
	}
	requests, found := map[int32]*kmsg.FetchRequest{}, 0
	for _, topic := range resp.Topics {
		if err := kerr.ErrorForCode(topic.ErrorCode); err != nil {
			return nil, err
		}
		byLeader := map[int32]*kmsg.FetchRequestTopic{}
		for _, p := range topic.Partitions {
			next, ok := parts[source.Partition{Stream: *topic.Topic, Index: p.Partition}]
			if !ok {
				continue
			}
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, err
			}
			t := byLeader[p.Leader]
			if t == nil {
				made := kmsg.NewFetchRequestTopic()
				made.Topic, made.TopicID = *topic.Topic, s.topicID(*topic.Topic)
				t = &made
				byLeader[p.Leader] = t
			}
			fp := kmsg.NewFetchRequestTopicPartition()
			// A broker answers with a whole batch at least, however little is asked for.
			fp.Partition, fp.CurrentLeaderEpoch, fp.FetchOffset, fp.PartitionMaxBytes = p.Partition, p.LeaderEpoch, next, 1
			t.Partitions = append(t.Partitions, fp)
			found++
		}
		for leader, t := range byLeader {
			req := requests[leader]
			if req == nil {
				req = kmsg.NewPtrFetchRequest()
				req.MaxWaitMillis, req.MinBytes, req.MaxBytes = int32(watchWait.Milliseconds()), 1, 1
				req.IsolationLevel, req.SessionEpoch = 1, -1
				requests[leader] = req
			}
			req.Topics = append(req.Topics, *t)
		}
	}
	if found < len(parts) {
		return nil, kerr.UnknownTopicOrPartition
	}
	return requests, nil
}
