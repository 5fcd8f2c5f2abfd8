package kafka

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// left counts what is left to the client's own decompressor.
type left struct {
	kgo.Decompressor
	times int
}

func (l *left) Decompress(src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	l.times++
	return l.Decompressor.Decompress(src, codec)
}

func lz4Frame(t testing.TB, src []byte, opts ...lz4.Option) []byte {
	var dst bytes.Buffer
	w := lz4.NewWriter(&dst)
	require.NoError(t, w.Apply(opts...))
	_, err := w.Write(src)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return dst.Bytes()
}

func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// What the library writes is read as it was, with and without pools, by us if it is one frame.
func TestDecompressor(t *testing.T) {
	text := bytes.Repeat([]byte("one and the same "), 400_000)
	frames := map[string][]byte{
		"nothing":         lz4Frame(t, nil),
		"a byte":          lz4Frame(t, []byte{7}),
		"small":           lz4Frame(t, text[:1000]),
		"64 KiB blocks":   lz4Frame(t, text, lz4.BlockSizeOption(lz4.Block64Kb)),
		"4 MiB blocks":    lz4Frame(t, text, lz4.BlockSizeOption(lz4.Block4Mb)),
		"all zero":        lz4Frame(t, make([]byte, 9<<20)),
		"noise":           lz4Frame(t, noise(5<<20), lz4.BlockSizeOption(lz4.Block1Mb)),
		"block checksums": lz4Frame(t, text, lz4.BlockChecksumOption(true), lz4.BlockSizeOption(lz4.Block256Kb)),
		"no checksum":     lz4Frame(t, text, lz4.ChecksumOption(false)),
		"its size":        lz4Frame(t, text, lz4.SizeOption(uint64(len(text)))),
	}
	others := map[string][]byte{
		"two frames":   append(lz4Frame(t, []byte("one ")), lz4Frame(t, []byte("another"))...),
		"legacy frame": lz4Frame(t, text[:1000], lz4.LegacyOption(true)),
	}
	for name, pool := range map[string]*pools{"without a pool": newPools(0), "with a pool": newPools(1 << 20)} {
		for want, list := range []map[string][]byte{frames, others} {
			for what, src := range list {
				expect, err := io.ReadAll(lz4.NewReader(bytes.NewReader(src)))
				require.NoError(t, err, what)
				other := &left{Decompressor: kgo.DefaultDecompressor()}
				d := &decompressor{pools: pool, most: 64 << 20, other: other}
				for range 2 {
					got, err := d.Decompress(src, kgo.CodecLz4)
					require.NoError(t, err, "%s, %s", what, name)
					require.True(t, bytes.Equal(expect, got), "%s, %s", what, name)
					if other.times == 0 {
						pool.PutDecompressBytes(got)
					}
				}
				assert.Equal(t, 2*want, other.times, "%s, %s", what, name)
			}
		}
	}
}

// Other codecs are the client's own.
func TestDecompressorLeavesOtherCodecs(t *testing.T) {
	d, err := newDecompressor(newPools(1<<20), kgo.MaxDecompressBatchBytes(1<<20))
	require.NoError(t, err)
	assert.Equal(t, 1<<20, d.most)
	for _, codec := range []kgo.CompressionCodec{kgo.GzipCompression(), kgo.SnappyCompression(), kgo.ZstdCompression(), kgo.Lz4Compression()} {
		c, err := kgo.DefaultCompressor(codec)
		require.NoError(t, err)
		for n, fits := range map[int]bool{1000: true, 8 << 20: false} {
			src, used := c.Compress(new(bytes.Buffer), make([]byte, n))
			got, err := d.Decompress(src, used)
			if fits {
				require.NoError(t, err)
				assert.Len(t, got, n)
			} else {
				assert.ErrorIs(t, err, kgo.ErrMaxDecompress, "codec %d", used)
			}
		}
	}
}

// What is damaged is refused, and its memory goes back to the pool.
func TestDecompressorRefusesDamage(t *testing.T) {
	src := lz4Frame(t, bytes.Repeat([]byte("one and the same "), 1000))
	damaged := map[string]func(b []byte) []byte{
		"cut off":               func(b []byte) []byte { return b[:len(b)-9] },
		"more behind it":        func(b []byte) []byte { return append(b, 1, 2, 3) },
		"a block beyond it":     func(b []byte) []byte { b[7+2] = 0x7f; return b },
		"another magic number":  func(b []byte) []byte { b[0]++; return b },
		"a dictionary":          func(b []byte) []byte { b[4] |= 1; return b },
		"a block that is noise": func(b []byte) []byte { copy(b[11:], bytes.Repeat([]byte{0xff}, 60)); return b },
	}
	for name, damage := range damaged {
		p := newPools(64 << 20)
		d := &decompressor{pools: p, most: 64 << 20, other: kgo.DefaultDecompressor()}
		_, err := d.Decompress(damage(bytes.Clone(src)), kgo.CodecLz4)
		assert.Error(t, err, name)
	}
	p := newPools(64 << 20)
	d := &decompressor{pools: p, most: 64 << 20}
	_, err := d.Decompress(damaged["a block that is noise"](bytes.Clone(src)), kgo.CodecLz4)
	require.ErrorContains(t, err, "lz4 block is damaged")
	assert.NotZero(t, p.bytes.Get(1<<10))
	assert.Greater(t, cap(p.bytes.Get(1<<10)), 1<<10, "a piece that was given back")
}

// Whatever a batch says of itself, we do not panic, take no more than we may, and read what the library reads.
func FuzzDecompressor(f *testing.F) {
	f.Add(lz4Frame(f, []byte("some text, some text")))
	f.Add(lz4Frame(f, bytes.Repeat([]byte("abc"), 50_000), lz4.BlockSizeOption(lz4.Block64Kb), lz4.BlockChecksumOption(true)))
	f.Add(lz4Frame(f, noise(300), lz4.ChecksumOption(false), lz4.SizeOption(300)))
	f.Add(append(lz4Frame(f, []byte("one")), lz4Frame(f, []byte("two"))...))
	const most = 1 << 20
	f.Fuzz(func(t *testing.T, src []byte) {
		d := (&decompressor{most: most}).unpooled()
		got, err := d.Decompress(src, kgo.CodecLz4)
		expect, readErr := io.ReadAll(io.LimitReader(lz4.NewReader(bytes.NewReader(src)), most+1))
		if _, ours := parseFrame(src); !ours || readErr != nil {
			return // what the library refuses for a checksum we may read
		}
		if len(expect) > most {
			require.ErrorIs(t, err, kgo.ErrMaxDecompress)
			return
		}
		require.NoError(t, err)
		require.True(t, bytes.Equal(expect, got))
	})
}

// As it is used: with pools, and text that is a fifth as large when it is compressed.
func BenchmarkDecompress(b *testing.B) {
	var text []byte
	for i := range 2000 {
		text = fmt.Appendf(text, `{"user":"user-%d","amount":%d}`, i*7919%10007, i*31%997)
	}
	src := lz4Frame(b, text)
	p := newPools(64 << 20)
	p.OnFetchBatchRead(kgo.BrokerMetadata{}, "", 0, kgo.FetchBatchMetrics{CompressionType: 3, CompressedBytes: len(src), UncompressedBytes: len(text)})
	ours, err := newDecompressor(p, kgo.WithPools(p))
	require.NoError(b, err)
	for name, d := range map[string]kgo.Decompressor{"ours": ours, "the client's": ours.other} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				out, err := d.Decompress(src, kgo.CodecLz4)
				if err != nil || len(out) != len(text) {
					b.Fatal(len(out), err)
				}
				p.PutDecompressBytes(out)
			}
		})
	}
}
