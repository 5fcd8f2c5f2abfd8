package kinesistest

import (
	"fmt"
	"math/big"
	"sort"
	"strings"
	"time"

	"github.com/millstream-go/millstream/connect/kinesis/kpl"
)

// stream is a stream and all shards that it ever had, in the order of their making.
type stream struct {
	name      string
	arn       string
	created   time.Time
	retention time.Duration
	maxRecord int
	shards    []*shard
	scattered bool // records go to shards in turn, whatever their keys
	turn      int
}

// shard is open until it is split or merged; its end is then the end of its records.
type shard struct {
	id       string
	parent   *shard
	adjacent *shard // the other parent of a merge
	owns     kpl.Range
	children []*shard
	created  time.Time
	first    string // sequence numbers
	last     string // of a closed one
	records  []record
	expired  int // so many of them are not given out any more

	written, read window
}

// record is a record as it is stored.
type record struct {
	Data                        []byte
	PartitionKey                string
	SequenceNumber              string
	ApproximateArrivalTimestamp float64
	EncryptionType              string `json:",omitempty"`

	at time.Time
}

func (r record) size() int { return len(r.Data) + len(r.PartitionKey) }

// window counts what happened in the current second.
type window struct {
	second       int64
	calls, bytes int
}

// take counts, unless it would be more than a limit.
func (w *window) take(now time.Time, calls, bytes, maxCalls, maxBytes int) bool {
	if sec := now.Unix(); sec != w.second {
		*w = window{second: sec}
	}
	if w.calls+calls > maxCalls || w.bytes+bytes > maxBytes {
		return false
	}
	w.calls += calls
	w.bytes += bytes
	return true
}

var hashEnd = new(big.Int).Lsh(big.NewInt(1), 128)

// sequence is the next sequence number, of 56 digits as the service's. Those of a stream grow, from parents to children
// too.
func (s *Server) sequence() string {
	s.next++
	return fmt.Sprintf("49%054d", s.next)
}

func (s *Server) newShard(st *stream, start, end *big.Int) *shard {
	sh := &shard{id: fmt.Sprintf("shardId-%012d", len(st.shards)), created: s.now(), first: s.sequence()}
	start.FillBytes(sh.owns.Start[:])
	end.FillBytes(sh.owns.End[:])
	st.shards = append(st.shards, sh)
	return sh
}

// CreateStream makes a stream, which is active at once.
func (s *Server) CreateStream(name string, shards int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.create(name, shards)
}

func (s *Server) create(name string, shards int) {
	st := &stream{name: name, arn: "arn:aws:kinesis:local:000000000000:stream/" + name, created: s.now(), retention: 24 * time.Hour, maxRecord: 1 << 20}
	s.streams[name] = st
	for i := range shards {
		start, end := share(i, shards), share(i+1, shards)
		s.newShard(st, start, end.Sub(end, big.NewInt(1)))
	}
}

// share is where the i-th of n equal parts of the hash keys begins.
func share(i, n int) *big.Int {
	x := new(big.Int).Mul(hashEnd, big.NewInt(int64(i)))
	return x.Div(x, big.NewInt(int64(n)))
}

// find finds a stream by name or ARN.
func (s *Server) find(name, arn string) (*stream, error) {
	if name == "" {
		if _, after, ok := strings.Cut(arn, ":stream/"); ok {
			name = after
		}
	}
	st := s.streams[name]
	if st == nil {
		return nil, refuse(notFound, "there is no stream %s%s", name, arn)
	}
	return st, nil
}

func (st *stream) shard(id string) (*shard, error) {
	for _, sh := range st.shards {
		if sh.id == id {
			return sh, nil
		}
	}
	return nil, refuse(notFound, "stream %s has no shard %s", st.name, id)
}

// open returns the open shards, in the order of their hash keys.
func (st *stream) open() (list []*shard) {
	for _, sh := range st.shards {
		if sh.last == "" {
			list = append(list, sh)
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].owns.Start.Compare(list[j].owns.Start) < 0 })
	return list
}

// owner is the open shard that a record belongs to.
func (st *stream) owner(key, explicit string) (*shard, error) {
	h, err := kpl.HashOf(kpl.Record{Key: key, HashKey: explicit})
	if err != nil {
		return nil, refuse(invalidArgument, "%v", err)
	}
	open := st.open()
	if st.scattered {
		st.turn++
		return open[st.turn%len(open)], nil
	}
	for _, sh := range open {
		if sh.owns.Contains(h) {
			return sh, nil
		}
	}
	return nil, refuse("InternalFailure", "no shard owns %v", h)
}

func (s *Server) close(sh *shard) {
	sh.last = s.sequence()
	s.push(sh)
}

// Split splits a shard in the middle.
func (s *Server) Split(stream, shard string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.find(stream, "")
	if err != nil {
		return err
	}
	sh, err := st.shard(shard)
	if err != nil {
		return err
	}
	start, end := new(big.Int).SetBytes(sh.owns.Start[:]), new(big.Int).SetBytes(sh.owns.End[:])
	return s.split(st, sh, start.Add(start, end).Rsh(start, 1).Add(start, big.NewInt(1)))
}

// split ends a shard; its second child begins at a hash key.
func (s *Server) split(st *stream, sh *shard, at *big.Int) error {
	start, end := new(big.Int).SetBytes(sh.owns.Start[:]), new(big.Int).SetBytes(sh.owns.End[:])
	if sh.last != "" {
		return refuse(inUse, "shard %s is closed", sh.id)
	}
	if at.Cmp(start) <= 0 || at.Cmp(end) > 0 {
		return refuse(invalidArgument, "hash key %v is not inside shard %s", at, sh.id)
	}
	s.close(sh)
	sh.children = []*shard{s.newShard(st, start, new(big.Int).Sub(at, big.NewInt(1))), s.newShard(st, at, end)}
	for _, c := range sh.children {
		c.parent = sh
	}
	return nil
}

// Merge merges two shards that lie side by side.
func (s *Server) Merge(stream, shard, adjacent string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.find(stream, "")
	if err != nil {
		return err
	}
	a, err := st.shard(shard)
	if err != nil {
		return err
	}
	b, err := st.shard(adjacent)
	if err != nil {
		return err
	}
	return s.merge(st, a, b)
}

func (s *Server) merge(st *stream, a, b *shard) error {
	if a.last != "" || b.last != "" {
		return refuse(inUse, "shard %s or %s is closed", a.id, b.id)
	}
	low, high := a, b
	if low.owns.Start.Compare(high.owns.Start) > 0 {
		low, high = high, low
	}
	start, end := new(big.Int).SetBytes(low.owns.Start[:]), new(big.Int).SetBytes(high.owns.End[:])
	between := new(big.Int).SetBytes(high.owns.Start[:])
	if between.Sub(between, new(big.Int).SetBytes(low.owns.End[:])).Cmp(big.NewInt(1)) != 0 {
		return refuse(invalidArgument, "shards %s and %s do not lie side by side", a.id, b.id)
	}
	s.close(a)
	s.close(b)
	c := s.newShard(st, start, end)
	c.parent, c.adjacent = a, b
	a.children, b.children = []*shard{c}, []*shard{c}
	return nil
}

// Shards are the names of a stream's open shards, in the order of their hash keys.
func (s *Server) Shards(stream string) (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.streams[stream]; st != nil {
		for _, sh := range st.open() {
			ids = append(ids, sh.id)
		}
	}
	return ids
}
