package kinesistest

import (
	"fmt"
	"unicode/utf8"

	"github.com/millstream-go/millstream/connect/kinesis/kpl"
)

// What a request may have.
const (
	maxPutRecords = 500
	maxPutBytes   = 10 << 20
	maxKey        = 256 // characters
	writeRecords  = 1000
	writeBytes    = 1 << 20
)

type putEntry struct {
	Data            []byte
	PartitionKey    string
	ExplicitHashKey string
}

type putAnswer struct {
	SequenceNumber string `json:",omitempty"`
	ShardId        string `json:",omitempty"`
	ErrorCode      string `json:",omitempty"`
	ErrorMessage   string `json:",omitempty"`
}

type putRecordInput struct {
	StreamName, StreamARN string
	putEntry
	SequenceNumberForOrdering string
}

func putRecord(s *Server, in *putRecordInput, _ *Fault) (out putAnswer, err error) {
	st, err := s.find(in.StreamName, in.StreamARN)
	if err != nil {
		return out, err
	}
	if err := st.valid(in.putEntry); err != nil {
		return out, err
	}
	// Numbers grow here whether or not the last one is named.
	if n := in.SequenceNumberForOrdering; n > fmt.Sprintf("49%054d", s.next) {
		return out, refuse(invalidArgument, "sequence number %s was never given out", n)
	}
	return s.put(st, in.putEntry)
}

type putRecordsInput struct {
	StreamName, StreamARN string
	Records               []putEntry
}

type putRecordsOutput struct {
	FailedRecordCount int
	Records           []putAnswer
}

func putRecords(s *Server, in *putRecordsInput, f *Fault) (out putRecordsOutput, err error) {
	st, err := s.find(in.StreamName, in.StreamARN)
	if err != nil {
		return out, err
	}
	if n := len(in.Records); n == 0 || n > maxPutRecords {
		return out, refuse(invalidArgument, "%d records in one request: 1 to %d are allowed", n, maxPutRecords)
	}
	size := 0
	for _, r := range in.Records {
		if err := st.valid(r); err != nil {
			return out, err
		}
		size += len(r.Data) + len(r.PartitionKey)
	}
	if size > maxPutBytes {
		return out, refuse(invalidArgument, "%d bytes in one request: at most %d are allowed", size, maxPutBytes)
	}
	for i, r := range in.Records {
		var a putAnswer
		if f != nil && f.Refuse != nil && f.Refuse(i) {
			err = refuse(throughput, "as the test wants it")
			if f.RefuseCode != "" {
				err = refuse(f.RefuseCode, "as the test wants it")
			}
		} else {
			a, err = s.put(st, r)
		}
		if e, ok := err.(*apiError); ok {
			a = putAnswer{ErrorCode: e.code, ErrorMessage: e.message}
			out.FailedRecordCount++
		}
		out.Records = append(out.Records, a)
	}
	return out, nil
}

// valid checks what fails a whole request.
func (st *stream) valid(r putEntry) error {
	if n := utf8.RuneCountInString(r.PartitionKey); n == 0 || n > maxKey {
		return refuse("ValidationException", "a partition key of %d characters: 1 to %d are allowed", n, maxKey)
	}
	if n := len(r.Data) + len(r.PartitionKey); n > st.maxRecord {
		return refuse(invalidArgument, "a record of %d bytes, its key included: at most %d are allowed", n, st.maxRecord)
	}
	if _, err := kpl.HashOf(kpl.Record{Key: r.PartitionKey, HashKey: r.ExplicitHashKey}); err != nil {
		return refuse(invalidArgument, "%v", err)
	}
	return nil
}

func (s *Server) put(st *stream, r putEntry) (putAnswer, error) {
	sh, err := st.owner(r.PartitionKey, r.ExplicitHashKey)
	if err != nil {
		return putAnswer{}, err
	}
	now := s.now()
	if s.limits && !sh.written.take(now, 1, len(r.Data)+len(r.PartitionKey), writeRecords, writeBytes) {
		return putAnswer{}, refuse(throughput, "rate exceeded for shard %s in stream %s", sh.id, st.name)
	}
	seq := s.sequence()
	sh.records = append(sh.records, record{Data: r.Data, PartitionKey: r.PartitionKey, SequenceNumber: seq, ApproximateArrivalTimestamp: seconds(now), at: now})
	s.push(sh)
	return putAnswer{SequenceNumber: seq, ShardId: sh.id}, nil
}
