package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/source"
)

// Sources that end. Where a partition ends is asked for once in a session, and the same whoever asks.

var _ connect.Ender = (*session)(nil)

// Ends implements connect.Ender.
func (s *session) Ends(ctx context.Context, parts []source.Partition) (map[source.Partition]source.Position, error) {
	starts, err := s.listOffsets(ctx, parts, earliestOffset, false)
	if err != nil {
		return nil, err
	}
	bounded, err := s.bounds(ctx, parts)
	if err != nil {
		return nil, err
	}
	now, err := s.listOffsets(ctx, missing(parts, bounded), latestOffset, false)
	if err != nil {
		return nil, err
	}
	ends := map[source.Partition]source.Position{}
	for _, p := range parts {
		end, ok := bounded[p]
		if !ok {
			end = now[p]
		}
		if end > starts[p] {
			ends[p] = source.At(end)
		}
	}
	return ends, nil
}

// bounds returns where those of the partitions end that do.
func (s *session) bounds(ctx context.Context, parts []source.Partition) (map[source.Partition]int64, error) {
	s.ending.Lock()
	defer s.ending.Unlock()
	found := map[source.Partition]int64{}
	ask := map[time.Time][]source.Partition{} // by Range.Until; zero: now
	for _, p := range parts {
		r := s.rangeOf(p.Stream)
		end, known := s.ends[p]
		switch {
		case r.End == source.Never:
		case known:
			found[p] = end
		case r.End == source.EndTime:
			ask[r.Until] = append(ask[r.Until], p)
		default:
			ask[time.Time{}] = append(ask[time.Time{}], p)
		}
	}
	for until, parts := range ask {
		offsets, err := s.offsetsAt(ctx, parts, until, false)
		if err != nil {
			return nil, err
		}
		for p, offset := range offsets {
			s.ends[p], found[p] = offset, offset
		}
	}
	return found, nil
}

// offsetsAt returns the first offsets with timestamps from t on, or, where there are none, those of the end.
func (s *session) offsetsAt(ctx context.Context, parts []source.Partition, t time.Time, stable bool) (map[source.Partition]int64, error) {
	ends, err := s.listOffsets(ctx, parts, latestOffset, stable)
	if err != nil || t.IsZero() {
		return ends, err
	}
	offsets, err := s.listOffsets(ctx, parts, max(0, t.UnixMilli()), false) // negative ones have meanings of their own
	if err != nil {
		return nil, err
	}
	for p, offset := range offsets {
		if offset < 0 {
			offsets[p] = ends[p]
		}
	}
	return offsets, nil
}

// cut takes from a fetch what lies behind the partition's end, and says whether the end is reached. Then nothing more is
// fetched.
func (s *session) cut(p source.Partition, c *cursor, f *kgo.FetchPartition) (ended bool) {
	if !c.bounded || len(f.Records) == 0 || f.Records[len(f.Records)-1].Offset < c.end-1 {
		return false
	}
	s.data.RemoveConsumePartitions(byTopic([]source.Partition{p}))
	n := len(f.Records)
	for n > 0 && f.Records[n-1].Offset >= c.end {
		n--
	}
	recycle(f.Records[n:])
	f.Records = f.Records[:n]
	return true
}
