package source

import (
	"bufio"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"

	"github.com/millstream-go/millstream/stream/codec"
)

// History is a set of files with records from before those of a topic. See Files.
type History[V any] struct {
	spec  FileSpec
	value codec.Codec[V]
}

// FileSpec is the untyped part of a History.
type FileSpec struct {
	FS      fs.FS
	Pattern string
	Split   bufio.SplitFunc
	// Again: the topic has files already.
	Again bool
}

// Files describes the files of a file system whose names match a pattern (fs.Glob), such as those below
// os.DirFS("/archive"). They are read in the order of their names, each from its beginning to its end, and a record is a
// line: its bytes without the line's end are what the codec decodes.
//
// The files are the beginning of a topic, see Then. They must not change until they have been read, and every instance
// must find the same ones.
func Files[V any](fsys fs.FS, pattern string, value codec.Codec[V]) History[V] {
	return History[V]{FileSpec{FS: fsys, Pattern: pattern, Split: bufio.ScanLines}, value}
}

// SplitBy says what a record is, if not a line: split cuts the next one off the bytes of a file, as for bufio.Scanner.
func (h History[V]) SplitBy(split bufio.SplitFunc) History[V] {
	h.spec.Split = split
	return h
}

// Then describes one stream: all records of the files, and after them those of a topic, from the place that its
// StartAtPositions or StartAtTime names. One of the two is required, since it is the cut: the first records of the topic
// that are not in the files.
//
// No record of the topic is read before all files have been read and that is committed, and a position in a file is
// committed like one in a topic, so the cut is exact also where instances fail or come and go: nothing is missing,
// nothing is read twice. Positions are exact in any case. A time is that of the broker's timestamps, see StartAtTime, and
// where the topic has no record left from before it, Run returns an error, because some between files and topic may have
// been deleted (see OnDeleted).
//
// One task reads the files, that of the topic's partition 0; those of the others wait, and their watermarks follow it. So
// Watermark.OutOfOrder must cover the disorder of the files as a whole, in the order of their names, and that of the topic's
// beginning after it. The stream needs an EventTime: records in files have no timestamps.
//
// Once the files have been read, they are not needed any more, but for another AppID.
func (h History[V]) Then(topic Source[V]) Source[V] {
	h.spec.Again = topic.Spec.Files != nil
	topic.Spec.Files, topic.Spec.Range.Exact = &h.spec, true
	topic.History = h.value
	return topic
}

// A position in files is smaller than all positions of a topic. It is a large negative Sub: the number of the file, in
// the order of names, and the byte in it.
const (
	fileBytes = 40 // bits: a terabyte
	fileCount = 22
)

// AtFile is the position of a byte in a file of a History; files are counted from 0, in the order of their names. AtFile(0,
// 0) is smaller than any other position.
func AtFile(file int, offset int64) Position {
	return Position{Sub: math.MinInt64 + int64(file)<<fileBytes + offset}
}

// File returns what AtFile was given; ok is false for a position that is not in a file.
func (p Position) File() (file int, offset int64, ok bool) {
	n := p.Sub - math.MinInt64 // wraps around for Sub >= 0, to a negative number
	if p.High != 0 || p.Mid != 0 || p.Low != 0 || n < 0 || n >= 1<<(fileBytes+fileCount) {
		return 0, 0, false
	}
	return int(n >> fileBytes), n & (1<<fileBytes - 1), true
}

const filePrefix = "file:"

func fileString(file int, offset int64) string {
	return filePrefix + strconv.Itoa(file) + ":" + strconv.FormatInt(offset, 10)
}

func parseFile(s string) (Position, error) {
	a, b, _ := strings.Cut(strings.TrimPrefix(s, filePrefix), ":")
	file, err := strconv.ParseUint(a, 10, fileCount)
	if err != nil {
		return Position{}, fmt.Errorf("position %q: %q is no number of a file", s, a)
	}
	offset, err := strconv.ParseUint(b, 10, fileBytes)
	if err != nil {
		return Position{}, fmt.Errorf("position %q: %q is no place in a file", s, b)
	}
	return AtFile(int(file), int64(offset)), nil
}
