// Package files reads records out of files: all those of a source.FileSpec, one after the other, from any position in
// them. It imports the standard library only, beside the contract of sources.
package files

import (
	"bufio"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"slices"

	"github.com/millstream-go/millstream/source"
)

// List are the files that a pattern matches, in the order of their names.
type List struct {
	Names []string
	Bytes int64 // of all
	spec  *source.FileSpec
	times []int64 // ms
	mark  string
}

// Open lists the files. That there is none is an error.
func Open(spec *source.FileSpec) (*List, error) {
	names, err := fs.Glob(spec.FS, spec.Pattern)
	if err != nil {
		return nil, fmt.Errorf("list files: %w", err)
	}
	slices.Sort(names)
	l := &List{spec: spec}
	sum := fnv.New64a()
	for _, name := range names {
		info, err := fs.Stat(spec.FS, name)
		switch {
		case err != nil:
			return nil, fmt.Errorf("list files: %w", err)
		case info.IsDir():
			continue
		}
		l.Names, l.times, l.Bytes = append(l.Names, name), append(l.times, info.ModTime().UnixMilli()), l.Bytes+info.Size()
		fmt.Fprintf(sum, "%s\x00%d\x00", name, info.Size())
	}
	if len(l.Names) == 0 {
		return nil, fmt.Errorf("no file matches %q: %w", spec.Pattern, fs.ErrNotExist)
	}
	l.mark = fmt.Sprintf("%x", sum.Sum64())
	return l, nil
}

// Mark stands for the names and sizes of the files: it changes when these do.
func (l *List) Mark() string { return l.mark }

// Name is the name of a file by its number, for people.
func (l *List) Name(file int) string {
	if file >= len(l.Names) {
		return "none, all are read"
	}
	return l.Names[file]
}

// MaxRecord bounds a record, in bytes. What a source accepts is less as a rule (source.MaxBytes); a longer one is bad
// data of the source. Beyond this the bytes are not what the files are said to be.
const MaxRecord = 64 << 20

// ErrNoRecord: the bytes at a place in a file are no record.
var ErrNoRecord = errors.New("no record")

// chunk is how many bytes are read at a time.
const chunk = 256 << 10

// Reader reads the records of a list.
type Reader struct {
	list   *List
	file   int
	offset int64 // in the file, of the first byte of rest
	open   fs.File
	rest   []byte // read, and not a record yet
	ended  bool   // the file has no more bytes
}

// NewReader begins at a position.
func (l *List) NewReader(at source.Position) (*Reader, error) {
	file, offset, ok := at.File()
	if !ok || file > len(l.Names) {
		return nil, fmt.Errorf("position %v is in none of the %d files", at, len(l.Names))
	}
	return &Reader{list: l, file: file, offset: offset}, nil
}

// Next returns the next records of a file, at least one, with memory of their own, and the position behind them; io.EOF
// when all files have been read.
func (r *Reader) Next() (recs []source.Record, next source.Position, err error) {
	for r.file < len(r.list.Names) {
		if err := r.fill(); err != nil {
			return nil, next, fmt.Errorf("read file %s: %w", r.list.Names[r.file], err)
		}
		if recs, err = r.split(); err != nil && len(recs) == 0 { // else the next call comes to it
			return nil, next, fmt.Errorf("file %s, byte %d: %w", r.list.Names[r.file], r.offset, err)
		}
		if r.ended && len(r.rest) == 0 {
			if err := r.open.Close(); err != nil {
				return nil, next, fmt.Errorf("close file %s: %w", r.list.Names[r.file], err)
			}
			r.open, r.ended, r.offset = nil, false, 0
			r.file++
		}
		if len(recs) > 0 {
			return recs, source.AtFile(r.file, r.offset), nil
		}
	}
	return nil, source.AtFile(r.file, 0), io.EOF
}

// fill reads on in the file, into new memory, since the records of before have the old one.
func (r *Reader) fill() error {
	if r.open == nil {
		f, err := r.list.spec.FS.Open(r.list.Names[r.file])
		if err != nil {
			return err
		}
		r.open = f
		if err := skip(f, r.offset); err != nil {
			return fmt.Errorf("go to byte %d: %w", r.offset, err)
		}
	}
	buf := make([]byte, len(r.rest)+max(chunk, len(r.rest)))
	n := copy(buf, r.rest)
	for n < len(buf) && !r.ended {
		k, err := r.open.Read(buf[n:])
		n += k
		switch {
		case err == io.EOF:
			r.ended = true
		case err != nil:
			return err
		}
	}
	r.rest = buf[:n:n]
	return nil
}

func skip(f fs.File, offset int64) error {
	if offset == 0 {
		return nil
	}
	if s, ok := f.(io.Seeker); ok {
		_, err := s.Seek(offset, io.SeekStart)
		return err
	}
	_, err := io.CopyN(io.Discard, f, offset)
	return err
}

// split cuts records off what was read.
func (r *Reader) split() (recs []source.Record, err error) {
	for len(r.rest) > 0 {
		n, token, err := r.list.spec.Split(r.rest, r.ended)
		switch {
		case err == bufio.ErrFinalToken: // what follows is no record, the function says
			if token != nil {
				recs = append(recs, r.record(token))
			}
			r.rest, r.ended = nil, true
			return recs, nil
		case err != nil:
			return recs, fmt.Errorf("%w: %w", ErrNoRecord, err)
		case n < 0 || n > len(r.rest):
			return recs, fmt.Errorf("%w: the split function moves on by %d of %d bytes", ErrNoRecord, n, len(r.rest))
		case n == 0 && token != nil:
			return recs, fmt.Errorf("%w: the split function finds one without moving on", ErrNoRecord)
		case n == 0 && r.ended:
			return recs, fmt.Errorf("%w: the file ends in the middle of one", ErrNoRecord)
		case n == 0 && len(r.rest) >= MaxRecord:
			return recs, fmt.Errorf("%w of up to %d bytes begins here", ErrNoRecord, MaxRecord)
		case n == 0:
			return recs, nil
		}
		if token != nil {
			recs = append(recs, r.record(token))
		}
		r.offset += int64(n)
		r.rest = r.rest[n:]
	}
	return recs, nil
}

func (r *Reader) record(token []byte) source.Record {
	return source.Record{Value: token, Time: r.list.times[r.file], Position: source.AtFile(r.file, r.offset)}
}

// Close ends the reading.
func (r *Reader) Close() {
	if r.open != nil {
		_ = r.open.Close() // it was only read
	}
}
