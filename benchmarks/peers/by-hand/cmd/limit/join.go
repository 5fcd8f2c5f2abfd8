package main

import (
	"context"
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"
	"github.com/millstream-go/millstream/benchmarks/peers/by-hand/internal/bench"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	joinMs  = 5_000
	graceMs = 5_000
)

// join is W4: inner join of two topics on their key, for times at most joinMs apart.
//
// It is symmetric: a record is joined with what the other side holds, then held itself. A held record leaves memory and
// Pebble once the other side of its partition is so far on that no partner can come any more, so it does not matter
// that the two topics are read out of step, and no pair is lost or doubled.
type join struct {
	ctx   context.Context
	p     producer
	db    *pebble.DB
	left  string
	sides [2]side
	marks marks
	batch *pebble.Batch
	kb    []byte
}

type side struct {
	held map[string][]held // by key, in order of arrival
	// time is the newest event time per partition, gone the time up to which records were deleted from Pebble.
	time, gone [partitions]int64
}

// held is what the output needs of a record; the full value is in Pebble and in the changelog.
type held struct {
	ts, seq, stamp int64
	amount         uint32
}

func newJoin(ctx context.Context, p producer, changelog, left string) *join {
	j := &join{ctx: ctx, p: p, db: openPebble(), left: left, marks: marks{topic: changelog}}
	for i := range j.sides {
		j.sides[i].held = map[string][]held{}
	}
	j.batch = j.db.NewBatch()
	return j
}

func (j *join) add(r *kgo.Record) {
	i := 1
	if r.Topic == j.left {
		i = 0
	}
	own, other := &j.sides[i], &j.sides[1-i]
	h := held{
		ts:     r.Timestamp.UnixMilli(),
		seq:    int64(binary.BigEndian.Uint64(r.Value[bench.OffSeq:])),
		stamp:  int64(binary.BigEndian.Uint64(r.Value[bench.OffStamp:])),
		amount: binary.BigEndian.Uint32(r.Value[bench.OffAmount:]),
	}
	j.marks.touch(r)
	own.time[r.Partition] = max(own.time[r.Partition], h.ts)

	partners := other.held[string(r.Key)]
	if live := alive(partners, own.time[r.Partition]); len(live) != len(partners) {
		partners = live
		other.held[string(r.Key)] = live
	}
	for _, q := range partners {
		if d := h.ts - q.ts; d < -joinMs || d > joinMs {
			continue
		}
		a, b := h, q
		if i == 1 {
			a, b = q, h
		}
		v := binary.BigEndian.AppendUint64(make([]byte, 0, 32), uint64(a.seq))
		v = binary.BigEndian.AppendUint64(v, uint64(b.seq))
		v = binary.BigEndian.AppendUint64(v, uint64(max(a.stamp, b.stamp)))
		v = binary.BigEndian.AppendUint64(v, uint64(a.amount+b.amount))
		outs++
		j.p.Produce(j.ctx, &kgo.Record{Key: r.Key, Value: v, Timestamp: r.Timestamp}, acknowledged)
	}
	own.held[string(r.Key)] = append(own.held[string(r.Key)], h)

	j.kb = entryKey(j.kb, i, r.Partition, h.ts)
	j.kb = append(j.kb, r.Key...)
	j.kb = binary.BigEndian.AppendUint64(j.kb, uint64(h.seq))
	must(j.batch.Set(j.kb, r.Value, nil))
	changelogN++
	j.p.Produce(j.ctx, &kgo.Record{Topic: j.marks.topic, Partition: r.Partition, Key: append([]byte(nil), j.kb...), Value: r.Value}, acknowledged)
}

// alive drops the records at the front that no record of the other side, now at time w, can still join.
func alive(hs []held, w int64) []held {
	for len(hs) > 0 && hs[0].ts+joinMs < w-graceMs {
		hs = hs[1:]
	}
	return hs
}

// entryKey begins a Pebble key: time before the record's key, so that old entries are one range.
func entryKey(b []byte, side int, part int32, ts int64) []byte {
	return binary.BigEndian.AppendUint64(append(b[:0], byte(side), byte(part)), uint64(ts))
}

func (j *join) commit() {
	for i := range j.sides {
		for p := range int32(partitions) {
			until := j.sides[1-i].time[p] - joinMs - graceMs
			if until <= j.sides[i].gone[p] {
				continue
			}
			must(j.batch.DeleteRange(entryKey(nil, i, p, j.sides[i].gone[p]), entryKey(nil, i, p, until), nil))
			j.sides[i].gone[p] = until
		}
	}
	j.marks.write(j.ctx, j.p)
	must(j.batch.Commit(pebble.NoSync))
	must(j.batch.Close())
	j.batch = j.db.NewBatch()
}
