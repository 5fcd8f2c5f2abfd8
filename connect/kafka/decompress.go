package kafka

import (
	"encoding/binary"
	"errors"

	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kgo"
)

// decompressor decompresses lz4 straight into the memory that the records are read from. A reader of the library takes two
// blocks of the size that the frame allows for each answer that is decompressed, which is 4 MiB in what Go's clients write,
// and copies out of them. Everything else is left to the client's own decompressor.
type decompressor struct {
	pools *pools // where memory comes from
	most  int    // bytes that a batch may decompress to
	other kgo.Decompressor
}

// newDecompressor makes one that keeps to the bound among a client's options.
func newDecompressor(pools *pools, opts ...kgo.Opt) (*decompressor, error) {
	cl, err := kgo.NewClient(opts...) // does not connect before it is used; kgo.DefaultDecompressor has no bound
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	d := &decompressor{pools: pools}
	d.most, _ = cl.OptValue(kgo.MaxDecompressBatchBytes).(int)
	d.other, _ = cl.OptValue(kgo.WithDecompressor).(kgo.Decompressor)
	return d, nil
}

// unpooled is the same for batches whose memory nobody gives back.
func (d *decompressor) unpooled() *decompressor {
	nothing := newPools(0)
	nothing.grows.Store(4 * 16)
	return &decompressor{pools: nothing, most: d.most, other: kgo.DefaultDecompressor()}
}

// Decompress implements kgo.Decompressor.
func (d *decompressor) Decompress(src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	f, ok := frame{}, false
	if codec == kgo.CodecLz4 {
		f, ok = parseFrame(src)
	}
	if !ok {
		return d.other.Decompress(src, codec)
	}
	dst := d.pools.GetDecompressBytes(src, codec)
	for len(f.blocks) > 0 {
		var err error
		block, plain := f.next()
		if dst, err = d.appendBlock(dst, block, plain, f.blockSize); err == nil && len(dst) > d.most {
			err = kgo.ErrMaxDecompress
		}
		if err != nil {
			d.pools.PutDecompressBytes(dst)
			return nil, err
		}
	}
	return dst, nil
}

// appendBlock appends what a block decompresses to, which is size at most. How much it is nobody knows before.
func (d *decompressor) appendBlock(dst, block []byte, plain bool, size int) ([]byte, error) {
	for {
		room := dst[len(dst):cap(dst)]
		if plain && len(block) <= len(room) {
			return append(dst, block...), nil
		}
		if !plain {
			if n, err := lz4.UncompressBlock(block, room); err == nil {
				return dst[:len(dst)+n], nil
			}
		}
		if len(room) >= size { // it did not fail for want of room
			return dst, errors.New("an lz4 block is damaged, or larger than its frame allows")
		}
		dst = d.grow(dst, size)
	}
}

// grow moves dst to where it has twice the room, and no more than another block can fill.
func (d *decompressor) grow(dst []byte, block int) []byte {
	larger := append(d.pools.bytes.Get(min(2*cap(dst)+512, len(dst)+block)), dst...)
	d.pools.PutDecompressBytes(dst)
	return larger
}

// frame is an lz4 frame as Kafka's clients write it (https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md): one, of
// blocks that do not depend on one another. Its checksums are not looked at: that of the batch, which the client has
// checked, covers them.
type frame struct {
	blocks    []byte // what is left of them
	blockSize int    // bytes that one may decompress to
	checksums bool   // one follows each block
}

const (
	frameMagic   = 0x184d2204
	plainBlock   = 1 << 31 // in a block's size: it is not compressed
	blockLength  = 4
	checksumSize = 4
)

// parseFrame reads a frame's header and looks whether its blocks fill src. It is false for whatever else src is.
func parseFrame(src []byte) (f frame, ok bool) {
	if len(src) < 7 || binary.LittleEndian.Uint32(src) != frameMagic {
		return f, false
	}
	flags, size := src[4], src[5]>>4
	const version, independent, sums, sized, sum, others = 1 << 6, 1 << 5, 1 << 4, 1 << 3, 1 << 2, 0b10000011
	if flags&others != 0 || flags&version == 0 || flags&independent == 0 || size < 4 || size > 7 {
		return f, false
	}
	header := 7
	if flags&sized != 0 {
		header += 8
	}
	f = frame{blockSize: 1 << (2*int(size) + 8), checksums: flags&sums != 0}
	if len(src) < header {
		return f, false
	}
	rest := src[header:]
	for at := 0; ; {
		if len(rest)-at < blockLength {
			return f, false
		}
		n := binary.LittleEndian.Uint32(rest[at:])
		if n == 0 {
			f.blocks = rest[:at]
			at += blockLength
			if flags&sum != 0 {
				at += checksumSize
			}
			return f, at == len(rest)
		}
		at += blockLength
		if int(n&^plainBlock) > len(rest)-at || n == plainBlock {
			return f, false
		}
		if at += int(n &^ plainBlock); f.checksums {
			at += checksumSize
		}
		if at > len(rest) {
			return f, false
		}
	}
}

// next returns the next block.
func (f *frame) next() (block []byte, plain bool) {
	n := binary.LittleEndian.Uint32(f.blocks)
	end := blockLength + int(n&^plainBlock)
	block = f.blocks[blockLength:end]
	if f.checksums {
		end += checksumSize
	}
	f.blocks = f.blocks[end:]
	return block, n&plainBlock != 0
}
