package task

import (
	"encoding/binary"
	"hash/fnv"
)

// Kinds of entries. The kind is the first byte of a key in changelog and store, and stands for the format of the whole
// entry: a new format gets a new kind.
const (
	KindValue   byte = 0x01 // kind, store, key group, key            -> state
	KindWindow  byte = 0x02 // kind, store, key group, start, key     -> state
	KindPane    byte = 0x14 // kind, store, key group, start, key     -> state
	KindTimer   byte = 0x03 // kind, store, key group, clock, time, key -> one byte
	KindSpans   byte = 0x04 // kind, store, key group, key            -> the windows of a key, see operator.spansCodec
	KindWaiting byte = 0x08 // kind, store, key group, key -> a change that is held back: see operator.waitingCodec
	// Rows of a table by the key that they name in another one; the length is a uvarint, of that key.
	KindSubscription byte = 0x09 // kind, store, key group, length, foreign key, key -> the number of the row's change
	KindLink         byte = 0x0f // kind, store, key group, key -> a result and the number of its row: see operator.linkCodec
	// Records that wait by time: for their match, or for their time. The length is a uvarint, of the key; records of one
	// key and time are numbered. The value is a byte (1: it has found a match) and the record's value.
	KindRecords   byte = 0x05 // kind, store, key group, side, bucket, length, key, time, number -> flag, value
	KindVersions  byte = 0x06 // kind, store, key group, key -> state: the versions of a row, see operator.historyCodec
	KindGroup     byte = 0x07 // kind, store, key group, key -> state: see operator.groupCodec
	KindNumbers   byte = 0x0a // kind, store, key group 0 -> varints: what an operator by stream time keeps for all keys
	KindKept      byte = 0x0e // kind, store, key group 0, number -> see AppendKept, then the value: a record that a call is made for
	KindUnmatched byte = 0x0b // kind, store, key group, side, time, key -> values, each with its length as a uvarint
	// Cells are the entries of a state handle, each with a key of its own below the record's; the length is a uvarint, of
	// the record's key.
	KindCell   byte = 0x0c // kind, store, key group, length, key, sub-key -> state
	KindCodecs byte = 0x0d // kind, store, key group 0 -> the codecs that the store was written with: see operator.written
	KindRuns   byte = 0x13 // kind, store, key group, key -> the partial matches of a pattern: see pattern.Machine.Append
	KindMarker byte = 0x10 // kind, subtopology                      -> epoch marker
	KindLocal  byte = 0x11 // kind, subtopology; in the store only   -> position in the changelog
	KindInput  byte = 0x12 // kind, subtopology, input; in the store only -> how far it was processed, see Reached
	KindAge    byte = 0x15 // kind; in the store only, and in partition 0 -> how new the store is, see Age
)

// ID is the number of a store or a subtopology in keys: a hash of its name. Build refuses names that collide.
func ID(name string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(name))
	return h.Sum32()
}

// PrefixLen is the length of kind, store and key group.
const PrefixLen = 1 + 4 + 2

// AppendPrefix appends kind, store and key group.
func AppendPrefix(b []byte, kind byte, store uint32, group uint16) []byte {
	b = append(b, kind)
	b = binary.BigEndian.AppendUint32(b, store)
	return binary.BigEndian.AppendUint16(b, group)
}

// GroupOf reads the key group that AppendPrefix wrote.
func GroupOf(key []byte) uint16 { return binary.BigEndian.Uint16(key[PrefixLen-2:]) }

// AppendTime appends a time such that earlier ones sort first, also before 1970.
func AppendTime(b []byte, t int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(t)^1<<63) }

// Time reads what AppendTime wrote.
func Time(b []byte) int64 { return int64(binary.BigEndian.Uint64(b) ^ 1<<63) }

// MarkerKey is the key of a subtopology's epoch marker. It is the same in every epoch, so that compaction keeps the
// newest.
func MarkerKey(subtopology string) []byte {
	return binary.BigEndian.AppendUint32([]byte{KindMarker}, ID(subtopology))
}

// LocalKey is the key under which the store remembers how much of the changelog is in it.
func LocalKey(subtopology string) []byte {
	return binary.BigEndian.AppendUint32([]byte{KindLocal}, ID(subtopology))
}

// InputKey is the key under which the store remembers how far an input of a task was processed, where no system does.
func InputKey(subtopology, input string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{KindInput}, ID(subtopology)), input...)
}

// Group is the key group of an encoded key: Kafka's murmur2 hash, so that a key's group and the partition that a Java
// producer would choose for it agree wherever the number of partitions divides the number of groups.
func Group(key []byte, groups int) uint16 {
	return uint16(Murmur2(key) & 0x7fffffff % uint32(groups))
}

// Murmur2 is the hash of Kafka's default partitioner (org.apache.kafka.common.utils.Utils.murmur2).
func Murmur2(b []byte) uint32 {
	const m = 0x5bd1e995
	h := uint32(0x9747b28c) ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b) * m
		k = (k ^ k>>24) * m
		h = h*m ^ k
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(b[0])) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}
