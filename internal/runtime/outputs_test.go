package runtime

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/sink"
)

// scribe is a session that notes what is written.
type scribe struct {
	connect.Session
	values []string
	begun  int
}

func (s *scribe) Begin() error { s.begun++; return nil }

func (s *scribe) Produce(_ context.Context, recs []sink.Record) error {
	for _, r := range recs {
		s.values = append(s.values, string(r.Value))
	}
	return nil
}

// At-least-once nothing of the next epoch waits while one is being committed, and it is not forgotten that something was
// written: its positions must be committed though nothing else happens in it. Under a transaction it waits.
func TestOutputsOfTheNextEpoch(t *testing.T) {
	for name, free := range map[string]bool{"at-least-once": true, "in transactions": false} {
		t.Run(name, func(t *testing.T) {
			s := &scribe{}
			o := &outputs{session: s, limit: 1, open: 1, free: free}
			write := func(epoch uint64, value string) {
				kept, err := o.write(t.Context(), epoch, written{recs: []sink.Record{{Value: []byte(value)}}})
				require.NoError(t, err)
				assert.Equal(t, !free && epoch != o.open, kept)
			}
			write(1, "a")
			write(2, "b")
			if free {
				assert.Equal(t, []string{"a", "b"}, s.values)
			} else {
				assert.Equal(t, []string{"a"}, s.values)
			}
			assert.Equal(t, !free, o.full())
			require.NoError(t, o.next(t.Context(), 2))
			assert.Equal(t, []string{"a", "b"}, s.values)
			assert.True(t, o.written())
			assert.Equal(t, 2, s.begun)
			require.NoError(t, o.next(t.Context(), 3))
			assert.False(t, o.written(), "an epoch in which nothing happens is not begun")
			assert.Equal(t, 2, s.begun)
		})
	}
}
