package conformance

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"

	"github.com/millstream-go/millstream/connect/kinesis/kpl"
)

// KPL is a case of a file of aggregated Kinesis records; the head of such a file explains its fields.
type KPL struct {
	ID, Kind, Encode string
	HashRange        *struct{ Start, End string }
	UserRecords      []kplUser
	Blob             *[]byte // nil: only its length and hash are known
	BlobLen          int
	BlobSha256       string
	Pattern          *struct {
		Count, DataLen     int
		PartitionKey, Data string
	}
	Expected struct {
		Count         int
		RecordsSha256 string
		Records       []struct {
			kplUser
			Aggregated        bool
			SubSequenceNumber int
		}
	}
}

type kplUser struct {
	PartitionKey    string
	ExplicitHashKey *string
	Data            []byte
}

func (u kplUser) record() kpl.Record {
	r := kpl.Record{Key: u.PartitionKey, Data: u.Data}
	if u.ExplicitHashKey != nil {
		r.HashKey = *u.ExplicitHashKey
	}
	return r
}

// LoadKPL reads a file of cases. ok is false if the file is not of this kind: it has no list "vectors".
func LoadKPL(path string) (cases []KPL, ok bool, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, false, err
	}
	var file struct{ Vectors *[]KPL }
	if json.Unmarshal(b, &file) != nil || file.Vectors == nil {
		return nil, false, nil
	}
	if len(*file.Vectors) == 0 {
		return nil, true, fmt.Errorf("%s: the list of vectors is empty", path)
	}
	return *file.Vectors, true, nil
}

// Run writes and reads the aggregate, as far as the case has both.
func (c KPL) Run() error {
	users, err := c.users()
	if err != nil {
		return err
	}
	var blob []byte
	if c.Blob != nil {
		blob = *c.Blob
	}
	switch c.Encode {
	case "byte-exact":
		made := aggregate(users)
		if sum := sha256.Sum256(made); len(made) != c.BlobLen || hex.EncodeToString(sum[:]) != c.BlobSha256 {
			return fmt.Errorf("written as %d bytes with SHA-256 %x, want %d bytes with %s", len(made), sum, c.BlobLen, c.BlobSha256)
		}
		if c.Blob == nil {
			blob = made
		}
	case "semantic", "none":
	default:
		return fmt.Errorf("unknown way to encode %q", c.Encode)
	}
	if len(blob) != c.BlobLen {
		return fmt.Errorf("the file's blob has %d bytes, and blobLen says %d", len(blob), c.BlobLen)
	}
	recs, aggregated, err := kpl.Decode(blob)
	switch c.Kind {
	case "plain", "corrupt":
		if aggregated || err != nil {
			return fmt.Errorf("want a plain record, handed on as it is; got %d records, error %v", len(recs), err)
		}
		return nil
	case "decode-error":
		if err == nil || len(recs) > 0 {
			return fmt.Errorf("want an error for the whole aggregate, got %d records, error %v", len(recs), err)
		}
		return nil
	case "roundtrip", "roundtrip-large", "decode", "range":
	default:
		return fmt.Errorf("unknown kind %q", c.Kind)
	}
	if err != nil || !aggregated {
		return fmt.Errorf("read: aggregated %v, error %w", aggregated, err)
	}
	if c.HashRange != nil {
		owns, err := c.owns(recs)
		if err != nil {
			return err
		}
		if !owns {
			recs = nil
		}
	}
	if err := c.compare(recs); err != nil {
		return err
	}
	if c.Encode == "semantic" { // other bytes, the same records
		if recs, _, err = kpl.Decode(aggregate(users)); err != nil {
			return err
		}
		return c.compare(recs)
	}
	return nil
}

func (c KPL) users() (users []kpl.Record, err error) {
	for _, u := range c.UserRecords {
		users = append(users, u.record())
	}
	if p := c.Pattern; p != nil {
		if p.PartitionKey != "big-<i mod 7>" || p.Data != "bytes 0..255 repeated, cut at dataLen" {
			return nil, fmt.Errorf("unknown pattern %q of keys, %q of data", p.PartitionKey, p.Data)
		}
		data := make([]byte, p.DataLen)
		for i := range data {
			data[i] = byte(i)
		}
		for i := range p.Count {
			users = append(users, kpl.Record{Key: fmt.Sprintf("big-%d", i%7), Data: data})
		}
	}
	return users, nil
}

func aggregate(users []kpl.Record) []byte {
	var a kpl.Aggregate
	for _, u := range users {
		a.Add(u)
	}
	return a.Bytes()
}

func (c KPL) owns(recs []kpl.Record) (bool, error) {
	start, err := kpl.ParseHash(c.HashRange.Start)
	if err != nil {
		return false, err
	}
	end, err := kpl.ParseHash(c.HashRange.End)
	return kpl.Range{Start: start, End: end}.Owns(recs), err
}

func (c KPL) compare(recs []kpl.Record) error {
	if len(recs) != c.Expected.Count {
		return fmt.Errorf("got %d records, want %d", len(recs), c.Expected.Count)
	}
	if want := c.Expected.RecordsSha256; want != "" {
		h := sha256.New()
		for i, r := range recs {
			fmt.Fprintf(h, "%s\x00%d\x00%d\x00%s", r.Key, i, len(r.Data), r.Data)
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != want {
			return fmt.Errorf("the records' SHA-256 is %s, want %s", got, want)
		}
		return nil
	}
	if len(recs) != len(c.Expected.Records) {
		return fmt.Errorf("got %d records, and the file has %d", len(recs), len(c.Expected.Records))
	}
	for i, want := range c.Expected.Records {
		w := want.record()
		if !want.Aggregated || want.SubSequenceNumber != i || w.Key != recs[i].Key || w.HashKey != recs[i].HashKey || !bytes.Equal(w.Data, recs[i].Data) {
			return fmt.Errorf("record %d is %+v, want %+v, sub-sequence number %d", i, recs[i], w, want.SubSequenceNumber)
		}
	}
	return nil
}
