package task_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/internal/eventtime"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/source"
)

var markers = map[string]*task.Marker{
	"empty": {},
	"full": {
		Owner: "0190c5a2", Epoch: math.MaxUint64,
		Inputs: []task.MarkerInput{
			{Stream: "txns", Index: 7, Position: source.At(1 << 40), Watermark: -5, Max: 12, Idle: true},
			{Stream: "app-by-card-repartition", Position: source.Position{High: 1, Mid: 2, Low: 3, Sub: -4}, Watermark: eventtime.None, Max: eventtime.None,
				Carried: []eventtime.Input{{Watermark: 9}, {Watermark: eventtime.None, Idle: true}, {Watermark: eventtime.End}}},
		},
		Closed: []task.MarkerClosed{{Store: math.MaxUint32, Through: -1}, {Store: 0, Through: math.MaxInt64}},
	},
	"times that are not believed": {Inputs: []task.MarkerInput{{Stream: "a"}, {Stream: "b", Max: 3, Waiting: []int64{-5, 1 << 50}}}},
}

func TestMarkerRoundTrip(t *testing.T) {
	for name, m := range markers {
		t.Run(name, func(t *testing.T) {
			b := task.AppendMarker([]byte("x"), m)
			got, err := task.DecodeMarker(b[1:])
			require.NoError(t, err)
			require.Equal(t, m, got)
			for n := range b[1:] { // cut short anywhere, it is damaged, not a smaller marker
				_, err := task.DecodeMarker(b[1 : 1+n])
				require.Error(t, err, "%d bytes of %d", n, len(b)-1)
			}
			_, err = task.DecodeMarker(append(b[1:], 0))
			require.ErrorContains(t, err, "damaged")
		})
	}
}

// The bytes last: a changelog is full of them.
func TestMarkerBytes(t *testing.T) {
	m := &task.Marker{Owner: "me", Epoch: 300, Inputs: []task.MarkerInput{{Stream: "s", Index: 1, Position: source.At(2), Watermark: -1, Max: 1, Idle: true}},
		Closed: []task.MarkerClosed{{Store: 5, Through: 3}}}
	require.Equal(t, []byte{1, 2, 'm', 'e', 0xac, 2, 1, 1, 's', 1, 0, 0, 2, 0, 1, 2, 1, 0, 1, 5, 6}, task.AppendMarker(nil, m))
	require.Equal(t, []byte{1, 0, 0, 7, 0, 200, 1, 2, 'm', 'e'}, task.AppendLocal(nil, task.Local{Next: source.At(7), Wall: 100, Owner: "me"}))
	require.Equal(t, []byte{1, 1, 3, 9, 1}, task.AppendControl(nil, task.Control{Tasks: []task.ControlTask{{Task: 3, Watermark: -5, Idle: true}}}))
}

func TestOtherFormats(t *testing.T) {
	for name, decode := range map[string]func([]byte) error{
		"marker":  func(b []byte) error { _, err := task.DecodeMarker(b); return err },
		"local":   func(b []byte) error { _, err := task.DecodeLocal(b); return err },
		"control": func(b []byte) error { _, err := task.DecodeControl(b); return err },
	} {
		require.ErrorContains(t, decode([]byte{3, 0, 0, 0, 0, 0}), "has format 3, this program knows 1", name)
		require.Error(t, decode(nil), name)
	}
	// A list that claims to be longer than the bytes that are left is damage, not a reason to allocate.
	_, err := task.DecodeControl([]byte{1, 0xff, 0xff, 0xff, 0xff, 0x0f})
	require.ErrorContains(t, err, "damaged")
}

// What decodes encodes to bytes that decode to the same; nothing makes a decoder panic.

func FuzzDecodeMarker(f *testing.F) {
	for _, m := range markers {
		f.Add(task.AppendMarker(nil, m))
	}
	f.Add([]byte{1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := task.DecodeMarker(b)
		if err != nil {
			require.Nil(t, m)
			return
		}
		again, err := task.DecodeMarker(task.AppendMarker(nil, m))
		require.NoError(t, err)
		require.Equal(t, m, again)
	})
}

func FuzzDecodeLocal(f *testing.F) {
	f.Add(task.AppendLocal(nil, task.Local{Next: source.At(7), Wall: 100, Owner: "me"}))
	f.Add([]byte{1, 1, 2, 3, 4, 5, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := task.DecodeLocal(b)
		if err != nil {
			return
		}
		again, err := task.DecodeLocal(task.AppendLocal(nil, l))
		require.NoError(t, err)
		require.Equal(t, l, again)
	})
}

func FuzzDecodeControl(f *testing.F) {
	f.Add(task.AppendControl(nil, task.Control{}))
	f.Add(task.AppendControl(nil, task.Control{Tasks: []task.ControlTask{{Task: 3, Watermark: -5, Idle: true}, {Watermark: eventtime.End}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := task.DecodeControl(b)
		if err != nil {
			return
		}
		again, err := task.DecodeControl(task.AppendControl(nil, c))
		require.NoError(t, err)
		require.Equal(t, c, again)
	})
}
