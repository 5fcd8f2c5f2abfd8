package kafka

import (
	"bytes"
	"slices"
	"sync"

	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kgo"
)

// compressor compresses batches by lz4, as the client does by itself, but in blocks of 256 KiB instead of 4 MiB: that much is
// allocated for each block that is under way, while few batches are larger than a hundredth of it. What comes out is hardly
// larger, because a block is compressed in windows of 64 KiB anyway.
type compressor struct{ writers sync.Pool }

var compression = kgo.Lz4Compression()

func newCompressor() *compressor {
	return &compressor{sync.Pool{New: func() any {
		w := lz4.NewWriter(nil)
		_ = w.Apply(lz4.BlockSizeOption(lz4.Block256Kb)) // fails for sizes that there are not
		return w
	}}}
}

// Compress implements kgo.Compressor.
func (c *compressor) Compress(dst *bytes.Buffer, src []byte, _ ...kgo.CompressFlag) ([]byte, kgo.CompressionCodecType) {
	w := c.writers.Get().(*lz4.Writer)
	defer c.writers.Put(w)
	w.Reset(dst)
	defer w.Reset(nil)
	if _, err := w.Write(src); err != nil {
		return nil, kgo.CodecError
	}
	if err := w.Close(); err != nil {
		return nil, kgo.CodecError
	}
	return dst.Bytes(), kgo.CodecLz4
}

// compresses says that client has the compression that all of them are given: Cluster.ClientOptions name no other.
func compresses(client *kgo.Client) bool {
	codecs, _ := client.OptValue(kgo.ProducerBatchCompression).([]kgo.CompressionCodec)
	return slices.Equal(codecs, []kgo.CompressionCodec{compression})
}
