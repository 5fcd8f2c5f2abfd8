package kpl_test

import (
	"crypto/md5"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/connect/kinesis/kpl"
)

// vectors are the blobs of the conformance tests, which run them as cases.
func vectors(t testing.TB) (blobs [][]byte) {
	raw, err := os.ReadFile("../../../internal/conformance/testdata/vectors/kpl/kpl-vectors.json")
	require.NoError(t, err)
	var file struct{ Vectors []struct{ Blob []byte } }
	require.NoError(t, json.Unmarshal(raw, &file))
	for _, v := range file.Vectors {
		blobs = append(blobs, v.Blob)
	}
	require.NotEmpty(t, blobs)
	return blobs
}

func encode(recs []kpl.Record) []byte {
	var a kpl.Aggregate
	for _, r := range recs {
		a.Add(r)
	}
	return a.Bytes()
}

func same(t require.TestingT, want, got kpl.Record) {
	require.Equal(t, want.Key, got.Key)
	require.Equal(t, want.HashKey, got.HashKey)
	require.Equal(t, string(want.Data), string(got.Data))
}

// What goes in comes out, at the size that was told before, also when the aggregate was used before.
func TestRoundTrip(t *testing.T) {
	var a kpl.Aggregate
	rapid.Check(t, func(t *rapid.T) {
		a.Reset()
		recs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) kpl.Record {
			r := kpl.Record{Key: rapid.StringN(1, 20, -1).Draw(t, "key"), Data: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "data")}
			if rapid.Bool().Draw(t, "explicit") {
				var h kpl.Hash
				copy(h[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "hash"))
				r.HashKey = h.String()
			}
			return r
		}), 0, 200).Draw(t, "records")
		for _, r := range recs {
			size := a.SizeWith(r)
			a.Add(r)
			require.Equal(t, size, a.Size())
		}
		require.Equal(t, len(recs), a.Len())
		blob := a.Bytes()
		require.Len(t, blob, a.Size())
		got, ok, err := kpl.Decode(blob)
		require.NoError(t, err)
		require.Equal(t, len(recs) > 0, ok)
		require.Len(t, got, len(recs))
		for i := range recs {
			same(t, recs[i], got[i])
		}
		if len(recs) > 0 {
			key, hash := a.Envelope()
			require.Equal(t, recs[0].Key, key)
			require.Equal(t, recs[0].HashKey, hash)
		}
	})
}

func TestHash(t *testing.T) {
	for s, want := range map[string]string{"0": "0", "007": "7", "340282366920938463463374607431768211455": "340282366920938463463374607431768211455"} {
		h, err := kpl.ParseHash(s)
		require.NoError(t, err)
		assert.Equal(t, want, h.String())
	}
	for _, s := range []string{"", "-1", "+1", "1 ", "0x10", "340282366920938463463374607431768211456", "9999999999999999999999999999999999999999"} {
		_, err := kpl.ParseHash(s)
		assert.ErrorContains(t, err, "is no decimal number below 2^128", s)
	}
	low, _ := kpl.ParseHash("18446744073709551615")
	high, _ := kpl.ParseHash("18446744073709551616")
	assert.Equal(t, []int{-1, 0, 1}, []int{low.Compare(high), low.Compare(low), high.Compare(low)})
}

// A damaged aggregate is never a panic, and never fewer records than it had: it is whole, or no aggregate, or an error.
func FuzzDecode(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, blob []byte) {
		recs, ok, err := kpl.Decode(blob)
		if err != nil || !ok {
			require.Empty(t, recs)
			return
		}
		again, ok, err := kpl.Decode(encode(recs))
		require.NoError(t, err)
		require.Equal(t, len(recs) > 0, ok)
		require.Len(t, again, len(recs))
		for i := range recs {
			same(t, recs[i], again[i])
		}
	})
}

// FuzzMessage has the checksum right, so that the damage reaches the message.
func FuzzMessage(f *testing.F) {
	for _, v := range vectors(f) {
		if len(v) > 20 {
			f.Add(v[4 : len(v)-16])
		}
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		recs, ok, err := kpl.Decode(sealed(message))
		if err != nil || !ok {
			require.Empty(t, recs)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	var recs []kpl.Record
	for i := range 400 {
		recs = append(recs, kpl.Record{Key: fmt.Sprintf("key-%d", i%20), Data: make([]byte, 100)})
	}
	blob := encode(recs)
	b.SetBytes(int64(len(blob)))
	for b.Loop() {
		if got, _, _ := kpl.Decode(blob); len(got) != len(recs) {
			b.Fatal(len(got))
		}
	}
}

// sealed puts magic and checksum around a message.
func sealed(message []byte) []byte {
	sum := md5.Sum(message)
	return append(append([]byte{0xF3, 0x89, 0x9A, 0xC2}, message...), sum[:]...)
}
