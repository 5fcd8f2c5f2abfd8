package kafka

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
)

// At-least-once the next epoch is written while one is flushed. That flush ends with the last record of its own, and a
// record that fails later is the next one's error, not nobody's.
func TestFlushWhileOthersWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &session{app: connect.App{Guarantee: connect.AtLeastOnce}}
		require.NoError(t, s.Begin())
		flush := func() chan error {
			done := make(chan error, 1)
			go func() {
				_, err := s.Flush(t.Context())
				done <- err
			}()
			synctest.Wait()
			return done
		}
		expect := func(n int) *handed {
			e, err := s.expect(n)
			require.NoError(t, err)
			return s.hand(e, n)
		}
		own := expect(2)
		first := flush()
		later := expect(1)
		own.promise(&kgo.Record{}, nil)
		synctest.Wait()
		require.Empty(t, first, "one of its records is under way")
		own.promise(&kgo.Record{}, nil)
		require.NoError(t, <-first)
		require.NoError(t, s.Commit(t.Context(), nil))

		again := expect(1) // before Begin
		require.NoError(t, s.Begin())
		second := flush()
		require.Empty(t, second)
		lost := errors.New("lost")
		later.promise(&kgo.Record{}, lost)
		again.promise(&kgo.Record{}, nil)
		err := <-second
		assert.ErrorIs(t, err, lost)
		assert.ErrorIs(t, err, connect.ErrRetry)

		_, err = s.expect(1)
		require.NoError(t, err)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = s.Flush(gone)
		assert.ErrorIs(t, err, context.Canceled)
	})
}

// Records that are handed over together keep their own headers, and nothing stays of them for those that come next.
func TestHandedRecords(t *testing.T) {
	s := &session{app: connect.App{Guarantee: connect.AtLeastOnce, FetchBytes: 1 << 20}}
	for round := range 3 {
		e, err := s.expect(40)
		require.NoError(t, err)
		h := s.hand(e, 40)
		require.Len(t, h.records, 40)
		for i := range h.records {
			require.Zero(t, h.records[i])
			r := sink.Record{Stream: "t", Partition: int32(i), Value: []byte{byte(i)}}
			for j := range i % 4 {
				r.Headers = append(r.Headers, source.Header{Key: fmt.Sprint(i), Value: []byte{byte(j), byte(round)}})
			}
			h.headers = fill(&h.records[i], &r, h.headers)
		}
		for i := range h.records {
			r := &h.records[i]
			require.Len(t, r.Headers, i%4)
			for j, header := range r.Headers {
				require.Equal(t, kgo.RecordHeader{Key: fmt.Sprint(i), Value: []byte{byte(j), byte(round)}}, header)
			}
		}
		for i := range h.records {
			h.promise(&kgo.Record{}, nil)
			require.Equal(t, 39-i, e.pending)
		}
		require.Equal(t, []*handed{h}, s.handed)
	}
}
