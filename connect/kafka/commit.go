package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/fault"
	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/source"
)

// Committing. Under exactly-once an epoch ends in two requests: TxnOffsetCommit puts the positions into the transaction
// and checks, by member id and generation, that the partitions are still ours; EndTxn decides. The first can be repeated
// until it is clear; the second, once sent, can have happened whatever comes back, unless the answer itself says no.
//
// The requests are made by hand because the client would commit what was polled, not what was processed.

// endTimeout bounds EndTxn. The caller's context does not: ending the wait early would only make the outcome unknown.
const endTimeout = 10 * time.Second

// Commit ends the epoch.
func (s *session) Commit(ctx context.Context, at []connect.PositionCommit) error {
	s.writing.Lock()
	e, begun := s.epoch, s.begun
	s.writing.Unlock()
	if e == nil || !begun {
		return errors.New("kafka: Commit without Begin")
	}
	if s.Transactional() && e.produced && !e.flushed {
		return errors.New("kafka: Commit before Flush")
	}
	var err error
	switch {
	case !s.Transactional(), plant.NoTransaction, !e.produced:
		// The last transaction's end was confirmed, or Commit would not have been called again: a plain commit cannot overtake it.
		fault.At("before-end")
		err = s.commitPlainly(ctx, at)
		fault.At("after-end")
	default:
		err = s.commitTransaction(ctx, e, at)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	for _, c := range at {
		s.committed[c.Partition] = c.Next
	}
	s.mu.Unlock()
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.begun = false; s.Transactional() {
		s.epoch = nil
	}
	return nil
}

func (s *session) commitTransaction(ctx context.Context, e *epoch, at []connect.PositionCommit) error {
	if e.acked == 0 && !plant.UncheckedProduce {
		// The client would abort, and say that all went well.
		return fmt.Errorf("%w: no record of the transaction was acknowledged", connect.ErrRetry)
	}
	if plant.OffsetsFirst {
		if err := s.commitPlainly(ctx, at); err != nil {
			return err
		}
		return s.end(ctx)
	}
	if !plant.NoTOCTimers || s.moved(at) {
		if err := s.commitInTransaction(ctx, at); err != nil {
			return err
		}
	}
	fault.At("after-toc")
	return s.end(ctx)
}

// moved says whether any position differs from the last committed one.
func (s *session) moved(at []connect.PositionCommit) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(at, func(c connect.PositionCommit) bool { return s.committed[c.Partition] != c.Next })
}

func (s *session) end(ctx context.Context) error {
	fault.At("before-end")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	err := s.producer.EndTransaction(ctx, kgo.TryCommit)
	fault.At("after-end")
	return ended(err)
}

// ended says what the answer to the end of a transaction means for the engine.
func ended(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kerr.OperationNotAttempted), errors.Is(err, kerr.TransactionAbortable):
		return fmt.Errorf("%w: the transaction was not committed: %w", connect.ErrRetry, err)
	case fencing(err):
		// The refusal may be of a second request, after the first one's answer was lost.
		return fmt.Errorf("%w (%w): end the transaction: %w", connect.ErrUnknown, connect.ErrFenced, err)
	}
	return fmt.Errorf("%w: end the transaction: %w", connect.ErrUnknown, err)
}

// commitInTransaction makes the positions part of the transaction.
func (s *session) commitInTransaction(ctx context.Context, at []connect.PositionCommit) error {
	if len(at) == 0 {
		return errors.New("kafka: a transaction without positions would not be fenced against this instance's successor")
	}
	id, epoch, err := s.producer.ProducerID(ctx)
	if err != nil {
		return classify(fmt.Errorf("kafka: transactional id %q: %w", transactionalID(s.app), err))
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group = transactionalID(s.app), s.app.ID
	req.ProducerID, req.ProducerEpoch = id, epoch
	if s.app.Static {
		req.InstanceID = &s.app.Instance
	}
	for name, parts := range positionsByTopic(at) {
		t := kmsg.NewTxnOffsetCommitRequestTopic()
		t.Topic, t.TopicID = name, s.topicID(name)
		for _, c := range parts {
			p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch = c.Partition.Index, c.Next.Offset(), -1
			p.Metadata = s.tag(c)
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	send := func(member string, generation int32) error {
		req.MemberID, req.Generation = member, generation
		resp, err := req.RequestWith(ctx, s.producer)
		if err != nil {
			return err
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return fmt.Errorf("commit the position of %s/%d: %w", s.topicName(t.Topic, t.TopicID), p.Partition, err)
				}
			}
		}
		return nil
	}
	if plant.UnfencedOffsets {
		req.InstanceID = nil
		return send("", -1)
	}
	return s.fenced(ctx, at, send)
}

// commitPlainly commits positions without a transaction, fenced by member and generation as well.
func (s *session) commitPlainly(ctx context.Context, at []connect.PositionCommit) error {
	if len(at) == 0 {
		return nil
	}
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group = s.app.ID
	if s.app.Static {
		req.InstanceID = &s.app.Instance
	}
	for name, parts := range positionsByTopic(at) {
		t := kmsg.NewOffsetCommitRequestTopic()
		t.Topic, t.TopicID = name, s.topicID(name)
		for _, c := range parts {
			p := kmsg.NewOffsetCommitRequestTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch = c.Partition.Index, c.Next.Offset(), -1
			p.Metadata = s.tag(c)
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	return s.fenced(ctx, at, func(member string, generation int32) error {
		req.MemberID, req.Generation = member, generation
		resp, err := req.RequestWith(ctx, s.data)
		if err != nil {
			return err
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return fmt.Errorf("commit the position of %s/%d: %w", s.topicName(t.Topic, t.TopicID), p.Partition, err)
				}
			}
		}
		return nil
	})
}

func positionsByTopic(at []connect.PositionCommit) map[string][]*connect.PositionCommit {
	m := map[string][]*connect.PositionCommit{}
	for i := range at {
		m[at[i].Partition.Stream] = append(m[at[i].Partition.Stream], &at[i])
	}
	return m
}

// How often a commit is tried again while the group or the coordinator is between two states.
const (
	markersInFlight = 2 * time.Millisecond // the last transaction's markers are still being written
	joinWindow      = 5 * time.Millisecond // the group has a new generation that this member has not entered yet
)

// fenced sends a commit with the member id and generation in which this member has checked that it owns the partitions,
// until the broker accepts it or refuses it for good. A healthy member meets ILLEGAL_GENERATION while a rebalance is
// under way; it waits for the new generation, and commits in that if everything is still its own.
func (s *session) fenced(ctx context.Context, at []connect.PositionCommit, send func(member string, generation int32) error) error {
	parts := make([]source.Partition, len(at))
	for i := range at {
		parts[i] = at[i].Partition
	}
	deadline := time.Now().Add(max(time.Minute, s.app.SessionTimeout))
	for {
		member, generation, ok := s.member.current(parts)
		if !ok {
			return fmt.Errorf("%w: some of %v are not this instance's any more", connect.ErrFenced, parts)
		}
		err := send(member, generation)
		wait := time.Duration(0)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, kerr.ConcurrentTransactions):
			wait = markersInFlight
		case errors.Is(err, kerr.IllegalGeneration), errors.Is(err, kerr.RebalanceInProgress),
			errors.Is(err, kerr.CoordinatorLoadInProgress), errors.Is(err, kerr.CoordinatorNotAvailable), errors.Is(err, kerr.NotCoordinator):
			wait = joinWindow
		case fencing(err):
			return fmt.Errorf("%w: %w", connect.ErrFenced, err)
		case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID):
			return fmt.Errorf("kafka: an input was deleted while it was read: %w", err)
		case errors.Is(err, kerr.OffsetMetadataTooLarge):
			return fmt.Errorf("kafka: the metadata of a position is larger than the broker's offset.metadata.max.bytes: %w", err)
		case acl(err, s.app) != nil:
			return acl(err, s.app)
		default:
			return fmt.Errorf("%w: %w", connect.ErrRetry, err)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w: %w", connect.ErrFenced, err)
		}
		if err := sleep(ctx, wait); err != nil {
			return fmt.Errorf("%w: %w", connect.ErrRetry, err)
		}
	}
}

// Purge deletes what every reader has committed.
func (s *session) Purge(ctx context.Context, below map[source.Partition]source.Position) error {
	if len(below) == 0 {
		return nil
	}
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 5000
	byName := map[string][]source.Partition{}
	for p := range maps.Keys(below) {
		byName[p.Stream] = append(byName[p.Stream], p)
	}
	for name, parts := range byName {
		t := kmsg.NewDeleteRecordsRequestTopic()
		t.Topic = name
		for _, p := range parts {
			rp := kmsg.NewDeleteRecordsRequestTopicPartition()
			rp.Partition, rp.Offset = p.Index, below[p].Offset()
			t.Partitions = append(t.Partitions, rp)
		}
		req.Topics = append(req.Topics, t)
	}
	var errs []error
	for _, shard := range s.data.RequestSharded(ctx, req) {
		if shard.Err != nil {
			errs = append(errs, shard.Err)
			continue
		}
		for _, t := range shard.Resp.(*kmsg.DeleteRecordsResponse).Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					errs = append(errs, fmt.Errorf("%s/%d: %w", t.Topic, p.Partition, err))
				}
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("kafka: purge what was processed: %w", err)
	}
	return nil
}
