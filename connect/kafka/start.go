package kafka

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream-go/millstream/source"
)

// cursor is a partition that was started.
type cursor struct{ next int64 }

// stop ends the reading of partitions, and forgets that they are ours.
func (s *session) stop(parts []source.Partition) {
	s.starting.Lock()
	defer s.starting.Unlock()
	s.mu.Lock()
	m := map[string][]int32{}
	for _, p := range parts {
		delete(s.owned, p)
		if s.reading[p] != nil {
			m[p.Stream] = append(m[p.Stream], p.Index)
			delete(s.reading, p)
		}
	}
	s.mu.Unlock()
	if len(m) > 0 {
		s.data.RemoveConsumePartitions(m)
		s.data.ResumeFetchPartitions(m)
	}
}

// Start begins reading. Partitions that were revoked in the meantime are passed over.
func (s *session) Start(ctx context.Context, at map[source.Partition]*source.Position) ([]source.Partition, error) {
	if len(at) == 0 {
		return nil, nil
	}
	from, caughtUp, err := s.resolve(ctx, at)
	if err != nil {
		return nil, err
	}
	s.starting.Lock()
	defer s.starting.Unlock()
	s.mu.Lock()
	offsets := map[string]map[int32]kgo.Offset{}
	for p, offset := range from {
		switch {
		case !s.owned[p]:
			caughtUp = slices.DeleteFunc(caughtUp, func(c source.Partition) bool { return c == p })
			continue
		case s.reading[p] != nil:
			s.mu.Unlock()
			return nil, fmt.Errorf("kafka: %v was started already", p)
		}
		s.reading[p] = &cursor{next: offset}
		if at[p] == nil {
			chosen := source.At(offset)
			at[p] = &chosen
		}
		if offsets[p.Stream] == nil {
			offsets[p.Stream] = map[int32]kgo.Offset{}
		}
		offsets[p.Stream][p.Index] = kgo.NewOffset().At(offset)
	}
	s.mu.Unlock()
	s.data.AddConsumePartitions(offsets)
	s.Wake()
	return caughtUp, nil
}

// resolve turns positions into offsets that can be read, and finds the partitions with nothing behind theirs.
func (s *session) resolve(ctx context.Context, at map[source.Partition]*source.Position) (map[source.Partition]int64, []source.Partition, error) {
	parts := make([]source.Partition, 0, len(at))
	for p := range at {
		parts = append(parts, p)
	}
	slices.SortFunc(parts, comparePartitions)
	starts, err := s.listOffsets(ctx, parts, earliestOffset, false)
	if err != nil {
		return nil, nil, err
	}
	stable, err := s.listOffsets(ctx, parts, latestOffset, true)
	if err != nil {
		return nil, nil, err
	}
	ends, err := s.listOffsets(ctx, parts, latestOffset, false)
	if err != nil {
		return nil, nil, err
	}
	from := make(map[source.Partition]int64, len(at))
	var caughtUp []source.Partition
	for _, p := range parts {
		switch pos := at[p]; {
		case pos == nil && s.startOf(p.Stream) == source.Latest:
			from[p] = stable[p]
		case pos == nil:
			from[p] = starts[p]
		case pos.Offset() > ends[p]:
			return nil, nil, fmt.Errorf("kafka: %v was read up to offset %d, but now it ends at %d: the topic was recreated, or the brokers lost records. "+
				"Reset the application, or restore the topic", p, pos.Offset(), ends[p])
		case pos.Offset() < starts[p]:
			if err := s.deletedBefore(p, pos.Offset(), starts[p]); err != nil {
				return nil, nil, err
			}
			from[p] = starts[p]
		default:
			from[p] = pos.Offset()
		}
		if from[p] >= ends[p] {
			caughtUp = append(caughtUp, p)
		}
	}
	return from, caughtUp, nil
}

// deletedBefore says what becomes of records that the broker deleted before they were read.
func (s *session) deletedBefore(p source.Partition, from, to int64) error {
	if s.cluster.SkipDeleted {
		s.log.Warn("records were deleted by the broker before they were read, and are skipped", "partition", p.String(), "from", from, "to", to)
		return nil
	}
	return fmt.Errorf("kafka: the records of %v from offset %d to %d were deleted by the broker (retention) before they were read. "+
		"Keep records longer (retention.ms, retention.bytes), or set Cluster.SkipDeleted to go on without them", p, from, to-1)
}

func (s *session) Pause(parts []source.Partition) { s.data.PauseFetchPartitions(byTopic(parts)) }

func (s *session) Resume(parts []source.Partition) {
	if len(parts) > 0 {
		s.data.ResumeFetchPartitions(byTopic(parts))
		s.Wake()
	}
}

func byTopic(parts []source.Partition) map[string][]int32 {
	m := map[string][]int32{}
	for _, p := range parts {
		m[p.Stream] = append(m[p.Stream], p.Index)
	}
	return m
}
