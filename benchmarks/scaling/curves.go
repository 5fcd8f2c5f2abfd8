package main

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/millstream-go/millstream/benchmarks/numbers"
	"github.com/millstream-go/millstream/stream"
)

// mostKeys are those of the largest size of the curve of keys.
const mostKeys = 10_000_000

// curve lists the sizes of a curve, from the smallest.
//
//   - keys: a count for each key, of keys that all fit the cache; each has been counted once before. An epoch ends after every
//     10,000 events (100,000 events per second with the default interval), so that each size writes about as many rows
//     and the cost of looking them up is what differs.
//   - partitions: the same count of 100,000 keys that come from so many partitions, with epochs of the default interval.
//   - operators: a chain of so many maps, each of a few instructions. What one of them costs is what the chain costs more
//     than the next smaller one, divided by the number of those that it has more.
func curve(name string, scale uint64) (points []*point, err error) {
	switch name {
	case "keys":
		for _, keys := range []int{10_000, 100_000, 1_000_000, mostKeys} {
			if uint64(keys) <= mostKeys/scale {
				p := counting(keys, 4, uint64(keys)+2_000_000/scale)
				p.size, p.noun, p.Every, p.memory = keys, "key", 10_000, 12<<30
				points = append(points, p)
			}
		}
	case "partitions":
		for _, partitions := range []int{4, 16, 64, 256, 1000} {
			p := counting(100_000, partitions, 100_000+5_000_000/scale)
			p.size, p.noun, p.memory = partitions, "partition", 1<<30
			points = append(points, p)
		}
	case "operators":
		var shorter *point
		for _, length := range []int{1, 4, 16, 64} {
			p := chain(length, 20_000_000/scale)
			p.shorter, shorter = shorter, p
			points = append(points, p)
		}
	default:
		return nil, fmt.Errorf("-curve %s: use keys, partitions or operators", name)
	}
	for _, p := range points {
		p.interval = 100 * time.Millisecond
		if p.Every > 0 {
			p.interval = time.Hour
		}
	}
	return points, nil
}

// counting counts events by their keys, and writes every new count.
func counting(distinct, partitions int, events uint64) *point {
	of := keys{uint64(distinct), uint64(partitions)}.of
	p := &point{Connector: numbers.Connector{Events: events, Partitions: partitions, Key: of, Before: uint64(distinct / partitions * partitions)}}
	p.topo = func() *stream.Topology {
		topo := stream.New("count")
		topo.FromKeyed(numbers.KeyedSource[uint64, uint64](number{}, number{})).
			Filter(func(_, event uint64) bool { return event != numbers.End }).
			Count("counts").
			Changes(func(_ uint64, n int64) uint64 { return uint64(n) }).
			To(numbers.Sink[uint64](number{}))
		return topo
	}
	p.wants = func() (rows, sum uint64) {
		counts := make([]uint32, distinct)
		for event := range events {
			k := of(event)
			counts[k]++
			sum += uint64(counts[k])
		}
		return events, sum
	}
	return p
}

// chain passes events through so many maps, and writes few of them.
func chain(length int, events uint64) *point {
	p := &point{size: length, noun: "operator", memory: 1 << 30, Connector: numbers.Connector{Events: events, Partitions: 4}}
	keep := func(v uint64) bool { return v%1024 == 1 }
	p.topo = func() *stream.Topology {
		topo := stream.New("chain")
		s := topo.From(numbers.Source[uint64](number{})).Filter(func(v uint64) bool { return v != numbers.End })
		for range length {
			s = s.Map(turn)
		}
		s.Filter(keep).To(numbers.Sink[uint64](number{}))
		return topo
	}
	p.wants = func() (rows, sum uint64) {
		for n := range events {
			for range length {
				n = turn(n)
			}
			if keep(n) {
				rows, sum = rows+1, sum+n
			}
		}
		return rows, sum
	}
	return p
}

// turn is a step of a linear congruential generator.
func turn(v uint64) uint64 { return v*6364136223846793005 + 1442695040888963407 }

// keys gives events their keys: each of them in turn, then at random one of those of the event's partition, so that a key
// is in one partition only.
type keys struct{ all, partitions uint64 }

func (s keys) of(event uint64) uint64 {
	if event < s.all {
		return event
	}
	partition := event % s.partitions
	own := (s.all - partition + s.partitions - 1) / s.partitions // keys of this partition
	return partition + s.partitions*(mix(event)%own)
}

// mix is the finalizer of splitmix64.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// number is a codec of eight bytes, big endian.
type number struct{}

func (number) Append(dst []byte, v uint64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, v), nil
}

func (number) Decode(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("a number of %d bytes", len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

func (number) Name() string { return "number" }
