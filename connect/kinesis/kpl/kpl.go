// Package kpl packs several records into one Kinesis record, and takes them out again, in the format of the Kinesis
// Producer Library, which its consumers in all languages read:
//
//	F3 89 9A C2 | protobuf message AggregatedRecord | MD5 of the message
//
//	message AggregatedRecord {
//	  repeated string partition_key_table     = 1;
//	  repeated string explicit_hash_key_table = 2;
//	  repeated Record records                 = 3;
//	}
//	message Record {
//	  required uint64 partition_key_index     = 1;
//	  optional uint64 explicit_hash_key_index = 2;
//	  required bytes  data                    = 3;
//	  repeated Tag    tags                    = 4; // not used
//	}
//
// The format is described at
// https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md.
// The package knows no client and no stream: bytes go in and come out.
package kpl

import (
	"bytes"
	"crypto/md5"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

var magic = [4]byte{0xF3, 0x89, 0x9A, 0xC2}

// Record is what a user of the stream wrote: one of those inside an aggregate.
type Record struct {
	Key string // the partition key

	// HashKey is the explicit hash key, a decimal number below 2^128, or empty: then the hash is the key's MD5.
	HashKey string

	Data []byte
}

// Fields of the messages.
const (
	fieldKeyTable, fieldHashTable, fieldRecords    = 1, 2, 3
	fieldKeyIndex, fieldHashIndex, fieldData, tags = 1, 2, 3, 4
)

// Decode takes the records out of an aggregate, in their order: the place of a record in the result is its sub-sequence
// number. Data points into blob. The blob of an ordinary record is no aggregate: ok is false, and the record is to be
// used as it is. So is one whose checksum does not fit, or whose message is not a valid protobuf; a plain record may
// begin with the same four bytes. One level is removed: data that is an aggregate itself stays closed.
//
// An error means that the blob is an aggregate with a fault in it: a record refers to a key that is not in the tables,
// or has an explicit hash key that is none. Then no record of it is returned, and the whole blob belongs to whoever
// handles bad records.
func Decode(blob []byte) (recs []Record, ok bool, err error) {
	body, ok := message(blob)
	if !ok {
		return nil, false, nil
	}
	var keys, hashes []string
	var refs []reference
	valid := fields(body, func(field protowire.Number, typ protowire.Type, value []byte) bool {
		if typ != protowire.BytesType {
			return true
		}
		switch field {
		case fieldKeyTable:
			keys = append(keys, string(value))
		case fieldHashTable:
			hashes = append(hashes, string(value))
		case fieldRecords:
			r, ok := record(value)
			if !ok {
				return false
			}
			refs = append(refs, r)
		}
		return true
	})
	if !valid {
		return nil, false, nil
	}
	recs = make([]Record, len(refs))
	for i, r := range refs {
		if r.key >= uint64(len(keys)) {
			return nil, true, fmt.Errorf("kpl: record %d of %d in the aggregate has partition key number %d of %d", i, len(refs), r.key, len(keys))
		}
		recs[i] = Record{Key: keys[r.key], Data: r.data}
		if !r.hashed {
			continue
		}
		if r.hash >= uint64(len(hashes)) {
			return nil, true, fmt.Errorf("kpl: record %d of %d in the aggregate has explicit hash key number %d of %d", i, len(refs), r.hash, len(hashes))
		}
		if recs[i].HashKey = hashes[r.hash]; recs[i].HashKey == "" {
			return nil, true, fmt.Errorf("kpl: record %d of %d in the aggregate has an empty explicit hash key", i, len(refs))
		}
		if _, err := ParseHash(recs[i].HashKey); err != nil {
			return nil, true, fmt.Errorf("kpl: record %d of %d in the aggregate: %w", i, len(refs), err)
		}
	}
	return recs, true, nil
}

// message returns the protobuf message inside a blob, if it looks like an aggregate and its checksum fits.
func message(blob []byte) ([]byte, bool) {
	if len(blob) <= len(magic)+md5.Size || !bytes.Equal(blob[:len(magic)], magic[:]) {
		return nil, false
	}
	body, sum := blob[len(magic):len(blob)-md5.Size], blob[len(blob)-md5.Size:]
	want := md5.Sum(body)
	return body, bytes.Equal(sum, want[:])
}

// reference is a record as it is in the message.
type reference struct {
	key, hash uint64
	hashed    bool
	data      []byte
}

func record(b []byte) (r reference, ok bool) {
	var keyed, filled bool
	valid := fields(b, func(field protowire.Number, typ protowire.Type, value []byte) bool {
		switch {
		case field == fieldKeyIndex && typ == protowire.VarintType:
			r.key, _ = protowire.ConsumeVarint(value)
			keyed = true
		case field == fieldHashIndex && typ == protowire.VarintType:
			r.hash, _ = protowire.ConsumeVarint(value)
			r.hashed = true
		case field == fieldData && typ == protowire.BytesType:
			r.data, filled = value, true
		case field == tags && typ == protowire.BytesType:
			named := false
			return fields(value, func(field protowire.Number, typ protowire.Type, _ []byte) bool {
				named = named || field == 1 && typ == protowire.BytesType
				return true
			}) && named
		}
		return true
	})
	return r, valid && keyed && filled
}

// fields calls f for each field of a message, with the content of bytes and strings and the encoded form of the others.
// It returns false if the message is not valid or f says so.
func fields(b []byte, f func(protowire.Number, protowire.Type, []byte) bool) bool {
	for len(b) > 0 {
		field, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		m := protowire.ConsumeFieldValue(field, typ, b)
		if m < 0 {
			return false
		}
		value := b[:m]
		if typ == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(value)
		}
		if !f(field, typ, value) {
			return false
		}
		b = b[m:]
	}
	return true
}

// Aggregate collects records for one Kinesis record. Its zero value is empty and ready for use. It is not safe for
// concurrent use. It does not know the limits of the service or of a shard: whoever fills it asks SizeWith first, and
// puts records of one shard into it.
type Aggregate struct {
	keys, hashes   map[string]uint64
	keyTable       []byte
	hashTable      []byte
	records        []byte
	n              int
	firstKey, hash string
}

// Len is the number of records in it.
func (a *Aggregate) Len() int { return a.n }

// Envelope is the partition key and the explicit hash key, if it is not empty, that the Kinesis record is to be written
// with: those of the first record.
func (a *Aggregate) Envelope() (key, hashKey string) { return a.firstKey, a.hash }

// Size is the length of Bytes.
func (a *Aggregate) Size() int {
	return len(magic) + len(a.keyTable) + len(a.hashTable) + len(a.records) + md5.Size
}

// SizeWith is what Size would be with one record more.
func (a *Aggregate) SizeWith(r Record) int {
	size, inner := a.Size(), 0
	k, known := a.keys[r.Key]
	if !known {
		k = uint64(len(a.keys))
		size += protowire.SizeTag(fieldKeyTable) + protowire.SizeBytes(len(r.Key))
	}
	inner += protowire.SizeTag(fieldKeyIndex) + protowire.SizeVarint(k)
	if r.HashKey != "" {
		h, known := a.hashes[r.HashKey]
		if !known {
			h = uint64(len(a.hashes))
			size += protowire.SizeTag(fieldHashTable) + protowire.SizeBytes(len(r.HashKey))
		}
		inner += protowire.SizeTag(fieldHashIndex) + protowire.SizeVarint(h)
	}
	inner += protowire.SizeTag(fieldData) + protowire.SizeBytes(len(r.Data))
	return size + protowire.SizeTag(fieldRecords) + protowire.SizeBytes(inner)
}

// Add puts a record into the aggregate; its data is copied. The tables of keys are in the order of first use.
func (a *Aggregate) Add(r Record) {
	if a.n == 0 {
		a.firstKey, a.hash = r.Key, r.HashKey
	}
	a.n++
	var key, hash uint64
	a.keys, key = a.enter(a.keys, &a.keyTable, fieldKeyTable, r.Key)
	inner := protowire.SizeTag(fieldKeyIndex) + protowire.SizeVarint(key) + protowire.SizeTag(fieldData) + protowire.SizeBytes(len(r.Data))
	if r.HashKey != "" {
		a.hashes, hash = a.enter(a.hashes, &a.hashTable, fieldHashTable, r.HashKey)
		inner += protowire.SizeTag(fieldHashIndex) + protowire.SizeVarint(hash)
	}
	b := protowire.AppendTag(a.records, fieldRecords, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(inner))
	b = protowire.AppendTag(b, fieldKeyIndex, protowire.VarintType)
	b = protowire.AppendVarint(b, key)
	if r.HashKey != "" {
		b = protowire.AppendTag(b, fieldHashIndex, protowire.VarintType)
		b = protowire.AppendVarint(b, hash)
	}
	b = protowire.AppendTag(b, fieldData, protowire.BytesType)
	a.records = protowire.AppendBytes(b, r.Data)
}

func (a *Aggregate) enter(index map[string]uint64, table *[]byte, field protowire.Number, s string) (map[string]uint64, uint64) {
	if index == nil {
		index = map[string]uint64{}
	}
	i, known := index[s]
	if !known {
		i = uint64(len(index))
		index[s] = i
		*table = protowire.AppendTag(*table, field, protowire.BytesType)
		*table = protowire.AppendString(*table, s)
	}
	return index, i
}

// Bytes is the data of the Kinesis record.
func (a *Aggregate) Bytes() []byte {
	b := make([]byte, 0, a.Size())
	b = append(b, magic[:]...)
	b = append(b, a.keyTable...)
	b = append(b, a.hashTable...)
	b = append(b, a.records...)
	sum := md5.Sum(b[len(magic):])
	return append(b, sum[:]...)
}

// Reset empties the aggregate for the next records; what Bytes has returned stays as it is.
func (a *Aggregate) Reset() {
	clear(a.keys)
	clear(a.hashes)
	a.keyTable, a.hashTable, a.records = a.keyTable[:0], a.hashTable[:0], a.records[:0]
	a.n, a.firstKey, a.hash = 0, "", ""
}
