package lease

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/connect/kinesis/kpl"
)

// Workers of the Kinesis Client Library and instances of ours share one table: each hands shards over to the other, and goes
// on where the other has checkpointed. It runs with MILLSTREAM_INTEGRATION and the endpoints of scripts/kinesis.sh set, and needs Java
// and Maven. It takes minutes, because the library looks for an uneven load only every now and then.
func TestBesideTheClientLibrary(t *testing.T) {
	at, db := os.Getenv("KINESIS_ENDPOINT"), os.Getenv("DYNAMODB_ENDPOINT")
	if os.Getenv("MILLSTREAM_INTEGRATION") == "" || at == "" || db == "" {
		t.Skip("MILLSTREAM_INTEGRATION, KINESIS_ENDPOINT or DYNAMODB_ENDPOINT is not set")
	}
	who := credentials.NewStaticCredentialsProvider("any", "any", "")
	s := &sharing{T: t, at: at, db: db, app: fmt.Sprintf("app-%d", time.Now().UnixNano()), streams: api.New(api.Options{Region: "us-east-1", BaseEndpoint: &at, Credentials: who}),
		tables: dynamodb.New(dynamodb.Options{Region: "us-east-1", BaseEndpoint: &db, Credentials: who})}
	_, err := s.streams.CreateStream(t.Context(), &api.CreateStreamInput{StreamName: &s.app, ShardCount: aws.Int32(4)})
	require.NoError(t, err)
	require.NoError(t, api.NewStreamExistsWaiter(s.streams).Wait(t.Context(), &api.DescribeStreamInput{StreamName: &s.app}, time.Minute))
	for i := range 16 {
		_, err := s.streams.PutRecord(t.Context(), &api.PutRecordInput{StreamName: &s.app, PartitionKey: aws.String(fmt.Sprint("key ", i)), Data: []byte("x")})
		require.NoError(t, err)
	}

	first := s.library("library-1")
	first.within("it reads all", func() bool { return first.has() == 4 && first.count("record") == 16 })
	first.stop()

	one := s.ours("ours-1")
	one.within("what the library leaves is taken when it has expired", func() bool { return one.has() == 4 })
	for shard, e := range one.copy() {
		require.NotNil(t, e.At, shard)
		if last := first.last(shard); last != "" {
			assert.Equal(t, last, written(*e.At).checkpoint, "%s goes on behind the last record", shard)
		}
	}
	second := s.library("library-2")
	second.within("ours hands two over to the library", func() bool { return second.has() == 2 && one.has() == 2 })
	two := s.ours("ours-2")
	two.within("the library hands one over when it is asked", func() bool { return two.has() == 1 && one.has()+second.has() == 3 && second.count("asked") > 0 })
	one.stop()
	two.stop()
	second.within("the library takes what is given back", func() bool { return second.has() == 4 })
	assert.Zero(t, second.count("record"), "nothing is read twice")
	second.stop()
}

type sharing struct {
	*testing.T
	at, db, app string
	streams     *api.Client
	tables      *dynamodb.Client
}

func (s *sharing) within(what string, cond func() bool) {
	s.Helper()
	require.Eventually(s, cond, 3*time.Minute, 100*time.Millisecond, what)
}

// library is a worker of the library.
type library struct {
	*sharing
	cmd   *exec.Cmd
	input io.Closer
	done  chan struct{}

	mu      sync.Mutex
	lines   map[string]int
	shards  map[string]bool
	records map[string]string // the last sequence number of each shard
}

func (s *sharing) library(name string) *library {
	l := &library{sharing: s, done: make(chan struct{}), lines: map[string]int{}, shards: map[string]bool{}, records: map[string]string{}}
	l.cmd = exec.Command("../../../scripts/kcl.sh", "run", s.app, s.app, name, s.at, s.db, "10000")
	l.cmd.Stderr = os.Stderr
	in, err := l.cmd.StdinPipe()
	require.NoError(s, err)
	l.input = in
	out, err := l.cmd.StdoutPipe()
	require.NoError(s, err)
	require.NoError(s, l.cmd.Start())
	go func() {
		defer close(l.done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			l.line(name, lines.Text())
		}
	}()
	s.Cleanup(func() { _ = l.input.Close(); <-l.done; _ = l.cmd.Wait() })
	return l
}

func (l *library) line(name, text string) {
	w := strings.Fields(text)
	if w[0] != "record" {
		l.Log(name, text)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines[w[0]]++
	switch w[0] {
	case "taken":
		l.shards[w[1]] = true
	case "lost", "ended":
		delete(l.shards, w[1])
	case "record":
		l.records[w[1]] = w[len(w)-1]
	}
}

func (l *library) has() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.shards)
}

func (l *library) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines[what]
}

func (l *library) last(shard string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.records[shard]
}

func (l *library) stop() {
	require.NoError(l, l.input.Close())
	<-l.done
}

// member of ours that reads nothing and gives what it is asked for.
type ours struct {
	*sharing
	kinesis.Membership
	done chan struct{}

	mu     sync.Mutex
	shards map[string]kinesis.LeaseEvent
}

func (s *sharing) ours(name string) *ours {
	m, err := Table{Client: s.tables, Name: func(app, _ string) string { return app }}.Join(s.Context(), kinesis.Member{App: s.app, Instance: name, Incarnation: "1", Logger: slog.Default()})
	require.NoError(s, err)
	o := &ours{sharing: s, Membership: m, done: make(chan struct{}), shards: map[string]kinesis.LeaseEvent{}}
	list, err := s.streams.ListShards(s.Context(), &api.ListShardsInput{StreamName: &s.app})
	require.NoError(s, err)
	var shards []kinesis.Shard
	for _, sh := range list.Shards {
		start, err1 := kpl.ParseHash(*sh.HashKeyRange.StartingHashKey)
		end, err2 := kpl.ParseHash(*sh.HashKeyRange.EndingHashKey)
		require.NoError(s, err1)
		require.NoError(s, err2)
		shards = append(shards, kinesis.Shard{ShardID: kinesis.ShardID{Stream: s.app, Shard: *sh.ShardId}, Hashes: kpl.Range{Start: start, End: end}})
	}
	require.NoError(s, m.Found(s.Context(), shards))
	go func() {
		defer close(o.done)
		for events := range m.Events() {
			for _, e := range events {
				s.Log(name, e.Change, e.Shard, e.Term)
				o.mu.Lock()
				if e.Change == kinesis.Taken {
					o.shards[e.Shard] = e
				} else {
					delete(o.shards, e.Shard)
				}
				o.mu.Unlock()
				if e.Change == kinesis.Asked {
					assert.NoError(s, m.Release(s.Context(), []kinesis.ShardID{e.ShardID}))
				}
			}
		}
	}()
	return o
}

func (o *ours) copy() map[string]kinesis.LeaseEvent {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := map[string]kinesis.LeaseEvent{}
	for k, v := range o.shards {
		c[k] = v
	}
	return c
}

func (o *ours) has() int { return len(o.copy()) }

func (o *ours) stop() {
	require.NoError(o, o.Close(o.Context()))
	<-o.done
}
