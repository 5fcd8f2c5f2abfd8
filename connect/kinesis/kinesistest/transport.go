package kinesistest

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"sync"
)

// HTTPClient returns a client that calls the service in this process, without a connection: for the options of the real
// client, where a test runs inside testing/synctest and a connection would keep its time from passing. Start the service
// outside of the bubble.
func (s *Server) HTTPClient() *http.Client { return &http.Client{Transport: transport{s}} }

type transport struct{ s *Server }

// RoundTrip calls the service and returns as soon as it has begun to answer.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(r.Context()) // of the service's work, which ends when nobody reads
	r = r.WithContext(ctx)
	body, w := io.Pipe()
	a := &inProcess{header: http.Header{}, body: w, begun: make(chan struct{})}
	go func() {
		t.s.serve(a, r)
		err := io.EOF
		if a.cut {
			err = io.ErrUnexpectedEOF
		}
		_ = w.CloseWithError(err)
		a.once.Do(func() { close(a.begun) })
	}()
	select {
	case <-a.begun:
	case <-ctx.Done():
		_ = body.CloseWithError(ctx.Err()) // ends a write that nobody waits for
		cancel()
		return nil, context.Cause(ctx)
	}
	if a.status == 0 { // nothing was answered
		defer cancel()
		return nil, cmp.Or(ctx.Err(), io.ErrUnexpectedEOF)
	}
	return &http.Response{StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: a.header, Body: reading{body, cancel}, ContentLength: -1, Request: r}, nil
}

// reading is the body of an answer.
type reading struct {
	*io.PipeReader
	cancel context.CancelFunc
}

// Close ends the service's work, too.
func (b reading) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}

// inProcess is an answer on its way.
type inProcess struct {
	header http.Header
	status int
	cut    bool // the rest of the answer is lost
	body   *io.PipeWriter
	begun  chan struct{}
	once   sync.Once
}

func (a *inProcess) Header() http.Header { return a.header }

func (a *inProcess) WriteHeader(status int) {
	a.status = status
	a.header = a.header.Clone()
	a.once.Do(func() { close(a.begun) })
}

func (a *inProcess) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	return a.body.Write(b)
}

// lose loses the answer, or the rest of it: it closes the connection.
func lose(w http.ResponseWriter) {
	if a, ok := w.(*inProcess); ok {
		a.cut = true
	} else if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = c.Close()
	}
}

// Flush has nothing to do: what is written is read.
func (a *inProcess) Flush() {}
