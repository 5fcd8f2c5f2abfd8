package codec_test

import (
	"bytes"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/stream/codec"
)

type (
	cardID  string
	uuid    [16]byte
	small   int8
	ordinal int32
	big     uint64
	port    uint16
	order   struct {
		ID    string         `json:"id"`
		Parts map[string]int `json:"parts"`
		At    time.Time      `json:"at"`
	}
)

// check verifies the bytes and the name of a value's encoding, and the way back.
func check[V any](t *testing.T, c codec.Codec[V], name string, v V, want []byte) {
	t.Helper()
	require.Equal(t, name, c.Name())
	b, err := c.Append([]byte("before"), v)
	require.NoError(t, err)
	got, found := bytes.CutPrefix(b, []byte("before"))
	require.True(t, found, "Append must keep what is there")
	require.Equal(t, want, got)
	in := slices.Clone(got)
	back, err := c.Decode(in)
	require.NoError(t, err)
	for i := range in {
		in[i] = 0xff // the engine reuses the bytes
	}
	require.Equal(t, v, back)
}

func key[K comparable](t *testing.T) codec.Codec[K] {
	t.Helper()
	c, err := codec.DefaultKey[K]()
	require.NoError(t, err)
	return c
}

func value[V any](t *testing.T) codec.Codec[V] {
	t.Helper()
	c, err := codec.Default[V]()
	require.NoError(t, err)
	return c
}

// The bytes last: state and topics are full of them.
func TestBytes(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
	id := [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

	check(t, codec.String, "string", "grüezi", []byte("grüezi"))
	check(t, codec.Bytes, "bytes", []byte{0, 255}, []byte{0, 255})
	check(t, codec.Int64, "int64", int64(-2), []byte{255, 255, 255, 255, 255, 255, 255, 254})
	check(t, codec.JSON[order](), "json", order{"a", map[string]int{"z": 1, "b": 2, "m": 3}, at},
		[]byte(`{"id":"a","parts":{"b":2,"m":3,"z":1},"at":"2026-01-02T03:04:05.0000006Z"}`))

	check(t, value[string](t), "string", "x", []byte("x"))
	check(t, value[int64](t), "int64", int64(1), []byte{0, 0, 0, 0, 0, 0, 0, 1})
	check(t, value[float64](t), "float64", 1.5, []byte{0x3f, 0xf8, 0, 0, 0, 0, 0, 0})
	check(t, value[float64](t), "float64", math.Inf(-1), []byte{0xff, 0xf0, 0, 0, 0, 0, 0, 0})
	check(t, value[int](t), "int64", -1, bytes.Repeat([]byte{255}, 8))
	check(t, value[int32](t), "int32", int32(-1), bytes.Repeat([]byte{255}, 4))
	check(t, value[uint32](t), "uint32", uint32(7), []byte{0, 0, 0, 7})
	check(t, value[uint64](t), "uint64", uint64(1)<<63, []byte{128, 0, 0, 0, 0, 0, 0, 0})
	check(t, value[[16]byte](t), "16 bytes", id, id[:])
	check(t, value[order](t), "json", order{ID: "a", Parts: map[string]int{}, At: at}, []byte(`{"id":"a","parts":{},"at":"2026-01-02T03:04:05.0000006Z"}`))
}

// A derived type has the bytes and the name of the type below it, so that one may take the place of the other.
func TestDerivedKeys(t *testing.T) {
	id := uuid{1, 15: 16}
	check(t, key[cardID](t), "string", "c1", []byte("c1"))
	check(t, key[uuid](t), "16 bytes", id, id[:])
	check(t, key[ordinal](t), "int32", ordinal(-2), []byte{255, 255, 255, 254})
	check(t, key[small](t), "int64", small(-128), []byte{255, 255, 255, 255, 255, 255, 255, 128})
	check(t, key[big](t), "uint64", big(math.MaxUint64), bytes.Repeat([]byte{255}, 8))
	check(t, key[port](t), "uint64", port(443), []byte{0, 0, 0, 0, 0, 0, 1, 187})
	check(t, key[string](t), "string", "c1", []byte("c1"))
	check(t, key[int](t), "int64", 5, []byte{0, 0, 0, 0, 0, 0, 0, 5})
}

func TestRefused(t *testing.T) {
	refuse := func(name string, err error, says string) {
		t.Helper()
		require.ErrorContains(t, err, says, name)
	}
	_, err := codec.Int64.Decode([]byte{1})
	refuse("short int64", err, "codec int64: 1 bytes instead of 8")
	_, err = value[int32](t).Decode(make([]byte, 8))
	refuse("long int32", err, "codec int32: 8 bytes instead of 4")
	_, err = value[float64](t).Decode(nil)
	refuse("no float64", err, "codec float64: 0 bytes instead of 8")
	_, err = key[uuid](t).Decode(make([]byte, 17))
	refuse("long uuid", err, "codec 16 bytes: 17 bytes instead of 16")
	_, err = key[ordinal](t).Decode(make([]byte, 8))
	refuse("long ordinal", err, "codec int32: 8 bytes instead of 4")
	_, err = key[small](t).Decode([]byte{0, 0, 0, 0, 0, 0, 1, 0})
	refuse("256 in 8 bits", err, "256 does not fit into codec_test.small")
	_, err = key[port](t).Decode([]byte{0, 0, 0, 0, 0, 1, 0, 0})
	refuse("65536 in 16 bits", err, "65536 does not fit into codec_test.port")
	_, err = codec.JSON[order]().Decode([]byte(`{"id":1}`))
	refuse("wrong JSON", err, "unmarshal JSON number into Go string")
	b, err := codec.JSON[float64]().Append([]byte("before"), math.NaN())
	refuse("NaN", err, "NaN")
	require.Equal(t, "before", string(b), "what was there is still there")

	_, err = codec.DefaultKey[float64]()
	require.NoError(t, err, "float64 has a built-in codec")
	_, err = codec.DefaultKey[float32]()
	refuse("float32 key", err, "no key codec for float32")
	_, err = codec.DefaultKey[struct{ A string }]()
	refuse("struct key", err, "name a codec")
	_, err = codec.DefaultKey[*int]()
	refuse("pointer key", err, "no key codec for *int")
	_, err = codec.Default[func()]()
	refuse("function", err, "no codec for func()")
	_, err = codec.Default[chan int]()
	refuse("channel", err, "no codec for chan int")
}

// fuzz: what decodes encodes again, to the same bytes or, where there are several forms, to one that stays.
func fuzz[V any](f *testing.F, c codec.Codec[V], exact bool) {
	for _, seed := range []string{"", "a", "12345678", "1234567890123456", `{"id":"a","parts":{"b":1},"at":"2026-01-02T03:04:05Z"}`, "\xff\xfe", "null", "\x00\x00\x00\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := c.Decode(b)
		if err != nil {
			return
		}
		again, err := c.Append(nil, v)
		require.NoError(t, err)
		if exact {
			require.True(t, bytes.Equal(b, again), "%x became %x", b, again)
		}
		back, err := c.Decode(again)
		require.NoError(t, err)
		once, err := c.Append(nil, back)
		require.NoError(t, err)
		require.Equal(t, again, once)
	})
}

func FuzzString(f *testing.F) { fuzz(f, codec.String, true) }
func FuzzBytes(f *testing.F)  { fuzz(f, codec.Bytes, true) }
func FuzzInt64(f *testing.F)  { fuzz(f, codec.Int64, true) }
func FuzzJSON(f *testing.F)   { fuzz(f, codec.JSON[order](), false) }

func FuzzDerivedKey(f *testing.F) {
	c, err := codec.DefaultKey[small]()
	require.NoError(f, err)
	fuzz(f, c, true)
}

func FuzzUUID(f *testing.F) {
	c, err := codec.DefaultKey[uuid]()
	require.NoError(f, err)
	fuzz(f, c, true)
}
