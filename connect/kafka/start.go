package kafka

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/source"
)

// cursor is a partition that was started.
type cursor struct {
	next    int64
	end     int64 // if bounded: where reading ends
	bounded bool
}

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
	parts := make([]source.Partition, 0, len(from))
	for p := range from {
		parts = append(parts, p)
	}
	ends, err := s.bounds(ctx, parts)
	if err != nil {
		return nil, err
	}
	s.starting.Lock()
	defer s.starting.Unlock()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, errClosed
	}
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
		end, bounded := ends[p]
		s.reading[p] = &cursor{next: offset, end: end, bounded: bounded}
		if at[p] == nil {
			chosen := source.At(offset)
			at[p] = &chosen
		}
		if bounded && offset >= end { // nothing is to be read
			if !slices.Contains(caughtUp, p) {
				caughtUp = append(caughtUp, p)
			}
			continue
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
	first, err := s.first(ctx, at, starts, stable)
	if err != nil {
		return nil, nil, err
	}
	from := make(map[source.Partition]int64, len(at))
	var caughtUp []source.Partition
	for _, p := range parts {
		pos, committed := first[p], at[p] != nil
		switch {
		case pos > ends[p] && committed:
			return nil, nil, fmt.Errorf("%w: kafka: %v was read up to offset %d, but now it ends at %d: the topic was recreated, or the brokers lost records. "+
				"Reset the application, or restore the topic", connect.ErrRecreated, p, pos, ends[p])
		case pos > ends[p]:
			return nil, nil, fmt.Errorf("%w: kafka: source.StartAtPositions names offset %d for %v, but it ends at %d", connect.ErrStop, pos, p, ends[p])
		case pos < starts[p]:
			if from[p], err = s.deletedBefore(p, pos, starts[p], stable[p]); err != nil {
				return nil, nil, err
			}
		default:
			from[p] = pos
		}
		if from[p] >= ends[p] {
			caughtUp = append(caughtUp, p)
		}
	}
	return from, caughtUp, nil
}

// first returns where each partition is to begin: at its position, or, without one, where its source says.
func (s *session) first(ctx context.Context, at map[source.Partition]*source.Position, starts, stable map[source.Partition]int64) (map[source.Partition]int64, error) {
	first := map[source.Partition]int64{}
	byTime := map[time.Time][]source.Partition{}
	for p, pos := range at {
		r := s.rangeOf(p.Stream)
		named, ok := r.Positions[p.Index]
		switch {
		case pos != nil:
			first[p] = pos.Offset()
		case ok:
			first[p] = named.Offset()
		case r.Start == source.Latest:
			first[p] = stable[p]
		case r.Start == source.StartTime:
			byTime[r.From] = append(byTime[r.From], p)
		default:
			first[p] = starts[p]
		}
	}
	for t, parts := range byTime {
		offsets, err := s.offsetsAt(ctx, parts, t, true)
		if err != nil {
			return nil, err
		}
		for p, offset := range offsets {
			first[p] = max(offset, starts[p])
			if r := s.rangeOf(p.Stream); r.Exact && r.Deleted == source.DeletedFails && starts[p] > 0 && first[p] == starts[p] {
				return nil, fmt.Errorf("%w: kafka: %v is to go on at %v, after the files before it, and begins at offset %d with that time or later: records in between may have been deleted by the broker (retention). "+
					"Name the offset with source.StartAtPositions, or say with source.OnDeleted how to go on", connect.ErrDeleted, p, t, starts[p])
			}
		}
	}
	return first, nil
}

// deletedBefore says where to go on after records that the broker deleted before they were read: from is the first of
// them, left the first that there is, end where the partition ends.
func (s *session) deletedBefore(p source.Partition, from, left, end int64) (int64, error) {
	to := left
	switch s.rangeOf(p.Stream).Deleted {
	case source.DeletedSkips:
	case source.DeletedLatest:
		to = max(left, end)
	default:
		return 0, fmt.Errorf("%w: kafka: the records of %v from offset %d to %d were deleted by the broker (retention) before they were read. "+
			"Keep records longer (retention.ms, retention.bytes), or say with source.OnDeleted how to go on without them", connect.ErrDeleted, p, from, left-1)
	}
	s.log.Warn("records were deleted by the broker before they were read, and are passed over", "partition", p.String(), "from", from, "to", to-1, "records", to-from)
	if s.app.OnGap != nil {
		s.app.OnGap(p, source.At(from), source.At(to))
	}
	return to, nil
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
