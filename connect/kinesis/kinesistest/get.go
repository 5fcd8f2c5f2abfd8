package kinesistest

import (
	"math"
	"sort"
	"strconv"
	"strings"
	"time"
)

const (
	maxGetRecords = 10_000
	maxGetBytes   = 10 << 20
	readCalls     = 5
	readBytes     = 2 << 20
	iteratorLife  = 5 * time.Minute
)

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func moment(s float64) time.Time { return time.UnixMilli(int64(math.Round(s * 1000))) }

// An iterator is stream|shard|place of the next record|when it was given out, in milliseconds.
func (s *Server) iterator(st *stream, sh *shard, next int) string {
	return st.name + "|" + sh.id + "|" + strconv.Itoa(next) + "|" + strconv.FormatInt(s.now().UnixMilli(), 10)
}

func (s *Server) shardOf(id, iterator string) string {
	if f := strings.Split(iterator, "|"); len(f) == 4 {
		return f[1]
	}
	return id
}

// position is a start position, as GetShardIterator and SubscribeToShard have it.
type position struct {
	kind, sequence string
	timestamp      float64
}

// Expire deletes the oldest records of a shard, as retention does.
func (s *Server) Expire(stream, shard string, records int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.find(stream, "")
	if err != nil {
		return err
	}
	sh, err := st.shard(shard)
	if err == nil {
		sh.expired = min(sh.expired+records, len(sh.records))
	}
	return err
}

// place is the place in the shard's records that a position begins at.
func (s *Server) place(sh *shard, p position) (int, error) {
	switch p.kind {
	case "TRIM_HORIZON":
		return 0, nil
	case "LATEST":
		return len(sh.records), nil
	case "AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER":
		if p.sequence == "" {
			return 0, refuse(invalidArgument, "%s wants a sequence number", p.kind)
		}
		i := sort.Search(len(sh.records), func(i int) bool { return sh.records[i].SequenceNumber >= p.sequence })
		if p.kind == "AFTER_SEQUENCE_NUMBER" && i < len(sh.records) && sh.records[i].SequenceNumber == p.sequence {
			i++
		}
		return i, nil
	case "AT_TIMESTAMP":
		at := moment(p.timestamp)
		if at.After(s.now()) {
			return 0, refuse(invalidArgument, "the timestamp lies in the future")
		}
		return sort.Search(len(sh.records), func(i int) bool { return !sh.records[i].at.Before(at) }), nil
	}
	return 0, refuse(invalidArgument, "unknown position %q", p.kind)
}

type getShardIteratorInput struct {
	StreamName, StreamARN, ShardId, ShardIteratorType, StartingSequenceNumber string
	Timestamp                                                                 float64
}

type shardIteratorOutput struct{ ShardIterator string }

func getShardIterator(s *Server, in *getShardIteratorInput, _ *Fault) (out shardIteratorOutput, err error) {
	st, err := s.find(in.StreamName, in.StreamARN)
	if err != nil {
		return out, err
	}
	sh, err := st.shard(in.ShardId)
	if err != nil {
		return out, err
	}
	i, err := s.place(sh, position{in.ShardIteratorType, in.StartingSequenceNumber, in.Timestamp})
	if err != nil {
		return out, err
	}
	return shardIteratorOutput{s.iterator(st, sh, i)}, nil
}

type getRecordsInput struct {
	ShardIterator, StreamARN string
	Limit                    *int
}

type getRecordsOutput struct {
	Records            []record
	NextShardIterator  *string
	MillisBehindLatest int64
	ChildShards        []childShard `json:",omitempty"`
}

type childShard struct {
	ShardId      string
	ParentShards []string
	HashKeyRange hashKeyRange
}

func getRecords(s *Server, in *getRecordsInput, _ *Fault) (out getRecordsOutput, err error) {
	f := strings.Split(in.ShardIterator, "|")
	if len(f) != 4 {
		return out, refuse(invalidArgument, "no such iterator")
	}
	next, err1 := strconv.Atoi(f[2])
	given, err2 := strconv.ParseInt(f[3], 10, 64)
	if err1 != nil || err2 != nil || next < 0 {
		return out, refuse(invalidArgument, "no such iterator")
	}
	st, err := s.find(f[0], "")
	if err != nil {
		return out, err
	}
	sh, err := st.shard(f[1])
	if err != nil {
		return out, err
	}
	now := s.now()
	if now.Sub(time.UnixMilli(given)) > iteratorLife {
		return out, refuse(expired, "the iterator was given out at %s and ends after %v", time.UnixMilli(given).UTC().Format(time.RFC3339), iteratorLife)
	}
	limit := maxGetRecords
	if in.Limit != nil {
		if limit = *in.Limit; limit < 1 || limit > maxGetRecords {
			return out, refuse(invalidArgument, "a limit of %d: 1 to %d are allowed", limit, maxGetRecords)
		}
	}
	recs, next := sh.from(next, limit)
	if s.limits && !sh.read.take(now, 1, sum(recs), readCalls, max(readBytes, sum(recs))) {
		return out, refuse(throughput, "rate exceeded for shard %s in stream %s", sh.id, st.name)
	}
	out.Records, out.MillisBehindLatest = recs, sh.behind(next, now)
	if sh.last != "" && next == len(sh.records) {
		out.ChildShards = sh.childShards()
		return out, nil
	}
	it := s.iterator(st, sh, next)
	out.NextShardIterator = &it
	return out, nil
}

// from returns the records from a place on that fit into an answer, and the place after them.
func (sh *shard) from(next, limit int) ([]record, int) {
	next = max(min(next, len(sh.records)), sh.expired)
	recs, bytes := []record{}, 0
	for next < len(sh.records) && len(recs) < limit && bytes < maxGetBytes {
		r := sh.records[next]
		if bytes += r.size(); bytes > maxGetBytes && len(recs) > 0 {
			break
		}
		recs = append(recs, r)
		next++
	}
	return recs, next
}

func sum(recs []record) (n int) {
	for _, r := range recs {
		n += r.size()
	}
	return n
}

func (sh *shard) behind(next int, now time.Time) int64 {
	if next < len(sh.records) {
		return max(1, now.Sub(sh.records[next].at).Milliseconds())
	}
	return 0
}

func (sh *shard) childShards() (list []childShard) {
	for _, c := range sh.children {
		parents := []string{c.parent.id}
		if c.adjacent != nil {
			parents = append(parents, c.adjacent.id)
		}
		list = append(list, childShard{c.id, parents, c.hashKeys()})
	}
	return list
}
