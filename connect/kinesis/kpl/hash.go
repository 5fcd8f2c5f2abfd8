package kpl

import (
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"math/big"
)

// Hash is a place in the range of hash keys, from 0 to 2^128-1, that the shards of a stream divide among them. Hashes
// compare by their bytes.
type Hash [16]byte

// Compare is -1, 0 or 1.
func (h Hash) Compare(o Hash) int {
	hi, lo := h.halves()
	ohi, olo := o.halves()
	switch {
	case hi < ohi || hi == ohi && lo < olo:
		return -1
	case hi == ohi && lo == olo:
		return 0
	}
	return 1
}

func (h Hash) halves() (hi, lo uint64) {
	return binary.BigEndian.Uint64(h[:8]), binary.BigEndian.Uint64(h[8:])
}

// String is the decimal number, as the service writes it.
func (h Hash) String() string { return new(big.Int).SetBytes(h[:]).String() }

// ParseHash reads a decimal number below 2^128. An error says what it was given.
func ParseHash(s string) (Hash, error) {
	var h Hash
	n := new(big.Int)
	for _, c := range []byte(s) {
		if c < '0' || c > '9' || len(s) > 39 {
			return h, fmt.Errorf("hash key %.50q is no decimal number below 2^128", s)
		}
	}
	if _, ok := n.SetString(s, 10); !ok || n.BitLen() > 128 {
		return h, fmt.Errorf("hash key %.50q is no decimal number below 2^128", s)
	}
	n.FillBytes(h[:])
	return h, nil
}

// HashOf is the place of a record: its explicit hash key, or the MD5 of its partition key. The error is ParseHash's.
func HashOf(r Record) (Hash, error) {
	if r.HashKey == "" {
		return md5.Sum([]byte(r.Key)), nil
	}
	return ParseHash(r.HashKey)
}

// Range is a shard's range of hash keys; both ends belong to it.
type Range struct{ Start, End Hash }

// Contains says whether a hash is in the range.
func (r Range) Contains(h Hash) bool { return r.Start.Compare(h) <= 0 && h.Compare(r.End) <= 0 }

// Owns says whether all records of an aggregate belong into the shard with this range. The Kinesis Client Library
// drops an aggregate of which it does not own every record, and the producer writes those records again elsewhere: an
// aggregate that was built before a split or merge and arrived after it. A reader may do the same only if the producer
// does its part, and must count what it drops.
func (r Range) Owns(recs []Record) bool {
	for _, rec := range recs {
		if h, err := HashOf(rec); err != nil || !r.Contains(h) {
			return false
		}
	}
	return true
}
