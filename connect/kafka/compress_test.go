package kafka

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What is compressed is what the client, and everyone else, reads as lz4. A compressor is used again.
func TestCompressor(t *testing.T) {
	c := newCompressor()
	for name, src := range map[string][]byte{
		"nothing":                {},
		"a byte":                 {7},
		"less than a block":      bytes.Repeat([]byte("one and the same "), 4000),
		"many blocks":            bytes.Repeat([]byte("one and the same "), 100_000),
		"what does not compress": noise(3 << 20),
	} {
		for range 2 {
			var dst bytes.Buffer
			out, codec := c.Compress(&dst, src)
			require.Equal(t, kgo.CodecLz4, codec, name)
			back, err := kgo.DefaultDecompressor().Decompress(out, codec)
			require.NoError(t, err, name)
			require.True(t, bytes.Equal(src, back), name)
			assert.LessOrEqual(t, len(out), len(src)+len(src)/1000+64, name)
		}
	}
}

// The compression that an application names itself is the one that it has.
func TestOwnCompression(t *testing.T) {
	for name, c := range map[string]struct {
		opts []kgo.Opt
		ours bool
	}{
		"none named":      {nil, true},
		"another one":     {[]kgo.Opt{kgo.ProducerBatchCompression(kgo.ZstdCompression())}, false},
		"none at all":     {[]kgo.Opt{kgo.ProducerBatchCompression(kgo.NoCompression())}, false},
		"another level":   {[]kgo.Opt{kgo.ProducerBatchCompression(kgo.Lz4Compression().WithLevel(9))}, false},
		"something else":  {[]kgo.Opt{kgo.ConnIdleTimeout(1e9)}, true},
		"several choices": {[]kgo.Opt{kgo.ProducerBatchCompression(kgo.Lz4Compression(), kgo.NoCompression())}, false},
	} {
		cl, err := kgo.NewClient(append([]kgo.Opt{kgo.ProducerBatchCompression(compression)}, c.opts...)...)
		require.NoError(t, err)
		assert.Equal(t, c.ours, compresses(cl), name)
		cl.Close()
	}
}

func BenchmarkCompress(b *testing.B) {
	var src []byte
	for i := range 2000 {
		src = fmt.Appendf(src, `{"user":"user-%d","amount":%d}`, i*7919%10007, i*31%997)
	}
	b.SetBytes(int64(len(src)))
	client, err := kgo.DefaultCompressor(compression)
	require.NoError(b, err)
	for name, c := range map[string]kgo.Compressor{"ours": newCompressor(), "the client's": client} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var dst bytes.Buffer
			for b.Loop() {
				dst.Reset()
				out, _ := c.Compress(&dst, src)
				b.ReportMetric(float64(len(out)), "compressed")
			}
		})
	}
}
