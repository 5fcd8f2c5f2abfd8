// Package kinesistest is a Kinesis for tests: streams in memory, behind the service's own protocol (JSON over HTTP) on a
// port of the loopback interface, so that the real client talks to it, from this process or from others. It does what
// a local copy of the service cannot be made to do: it throttles, refuses some records of a request, loses an answer
// after the work is done, lets iterators expire, answers late, all when a test says so (Fault), and reshards while a
// stream is read. On the same port it is a DynamoDB that has what a table of leases needs.
//
// Inside testing/synctest there is no port to speak to: a client with HTTPClient calls the service without one.
//
// Streams behave as documented in the API reference (https://docs.aws.amazon.com/kinesis/latest/APIReference/): limits of
// requests and records, parents and children of shards, closed shards that are read to their end, start positions, pages
// of lists. Rates are not limited unless Options.Limits says so. Nothing is kept when the process ends.
package kinesistest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Options are what a test may want to be different.
type Options struct {
	// Now is the service's clock; default: time.Now. It stamps records and lets iterators expire.
	Now func() time.Time

	// Limits makes shards refuse what is more than their share: 1 MiB and 1,000 records a second written, five reads and
	// 2 MiB a second read.
	Limits bool

	// Creating is how long a DynamoDB table or a consumer of a stream is being made.
	Creating time.Duration

	// Lag is for how long a DynamoDB read that is not consistent, as one of an index never is, finds an item as it was before
	// its last change.
	Lag time.Duration

	// Addr is where it listens; default: a free port of 127.0.0.1.
	Addr string
}

// Server is a running service. Its methods are safe for concurrent use.
type Server struct {
	now      func() time.Time
	limits   bool
	creating time.Duration
	lag      time.Duration
	http     *http.Server
	url      string
	done     chan struct{}

	mu        sync.Mutex
	streams   map[string]*stream
	tables    map[string]*table
	consumers []*consumer
	next      uint64 // sequence number
	faults    []*Fault
	calls     map[string]int
}

// Start starts a service without streams.
func Start(o Options) (*Server, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("kinesistest: listen: %w", err)
	}
	s := &Server{now: o.Now, limits: o.Limits, creating: o.Creating, lag: o.Lag, url: "http://" + l.Addr().String(), done: make(chan struct{}),
		streams: map[string]*stream{}, tables: map[string]*table{}, calls: map[string]int{}}
	s.http = &http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(s.done)
		_ = s.http.Serve(l) // ends with Close
	}()
	return s, nil
}

// URL is the endpoint for the client (BaseEndpoint in the options of kinesis and dynamodb). Any credentials and any region will do.
func (s *Server) URL() string { return s.url }

// Close ends the service, and requests under way with it.
func (s *Server) Close() {
	_ = s.http.Close()
	<-s.done
}

// Calls returns how often each action of the API was called, refused calls included.
func (s *Server) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int{}
	for a, n := range s.calls {
		out[a] = n
	}
	return out
}

// apiError is an error of the service.
type apiError struct {
	code, message string
	item          item // that missed a condition
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func refuse(code, format string, args ...any) error {
	return &apiError{code: code, message: fmt.Sprintf(format, args...)}
}

// The names of the service's errors.
const (
	invalidArgument = "InvalidArgumentException"
	notFound        = "ResourceNotFoundException"
	inUse           = "ResourceInUseException"
	throughput      = "ProvisionedThroughputExceededException"
	expired         = "ExpiredIteratorException"
)

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<20))
	if err != nil {
		return
	}
	var head struct {
		StreamName, StreamARN, ShardId, ShardIterator, TableName string
		Key, Item                                                item
	}
	_ = json.Unmarshal(body, &head) // what is wrong with it the action will say
	s.mu.Lock()
	s.calls[action]++
	subject := s.shardOf(head.ShardId, head.ShardIterator)
	if t := s.tables[head.TableName]; t != nil {
		for _, it := range []item{head.Key, head.Item} {
			if k := it[t.key]; k.S != nil {
				subject = *k.S
			}
		}
	}
	f := s.take(action, subject)
	s.mu.Unlock()
	if f != nil && f.Events == 0 {
		if wait(r, f.Delay) != nil {
			return
		}
		if f.Error != "" {
			answer(w, nil, refuse(f.Error, "as the test wants it"))
			return
		}
	}
	if action == "SubscribeToShard" {
		s.subscribeToShard(w, r, body, f)
		return
	}
	run := actions[action]
	if run == nil {
		answer(w, nil, refuse("UnknownOperationException", "the service for tests has no action %q", action))
		return
	}
	out, err := run(s, body, f)
	if f != nil && f.LoseAnswer {
		lose(w)
		return
	}
	answer(w, out, err)
}

func answer(w http.ResponseWriter, out any, err error) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if err != nil {
		var e *apiError
		status := http.StatusBadRequest
		if !errors.As(err, &e) {
			e = &apiError{code: "SerializationException", message: err.Error()}
		}
		if e.code == "InternalFailure" || e.code == "InternalServerError" || e.code == "ServiceUnavailable" {
			status = http.StatusInternalServerError
		}
		w.WriteHeader(status)
		out = map[string]any{"__type": e.code, "message": e.message}
		if e.item != nil {
			out = map[string]any{"__type": e.code, "message": e.message, "Item": e.item}
		}
	}
	_ = json.NewEncoder(w).Encode(out) // a client that is gone hears nothing
}

// action handles one action of the API. The fault, which may be nil, has been waited for and is not an error.
type action func(s *Server, body []byte, f *Fault) (any, error)

// strict is do that refuses parameters it does not know.
func strict[In, Out any](f func(*Server, *In, *Fault) (Out, error)) action {
	return func(s *Server, body []byte, fault *Fault) (any, error) {
		in := new(In)
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		if err := d.Decode(in); err != nil {
			return nil, refuse(validation, "the service for tests does not know this parameter: %v", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return f(s, in, fault)
	}
}

// do makes an action of a function with its own types; the server is locked while it runs.
func do[In, Out any](f func(*Server, *In, *Fault) (Out, error)) action {
	return func(s *Server, body []byte, fault *Fault) (any, error) {
		in := new(In)
		if err := json.Unmarshal(body, in); err != nil {
			return nil, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return f(s, in, fault)
	}
}
