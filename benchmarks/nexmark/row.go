package main

import "encoding/binary"

// Row is the hash of a result's fields. The sink counts rows and adds them up, so that the result of a run depends on
// neither their order nor the number of workers.
type Row uint64

// fold takes a further field into a hash.
func fold(h, v uint64) uint64 { return mix((h ^ v) + golden) }

// row is the hash of a result's fields, in order.
func row(fields ...uint64) Row {
	h := uint64(0x4D53)
	for _, v := range fields {
		h = fold(h, v)
	}
	return Row(h)
}

// text is a string as a field: FNV-1a of its bytes.
func text(s string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return h
}

// rowCodec writes a row for the sink.
type rowCodec struct{}

func (rowCodec) Append(dst []byte, r Row) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, uint64(r)), nil
}
func (rowCodec) Decode(b []byte) (Row, error) { return Row(binary.BigEndian.Uint64(b)), nil }
func (rowCodec) Name() string                 { return "row" }
