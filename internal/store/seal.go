package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Pebble's MANIFEST is the log of which tables the database consists of. Pebble takes the first record that it cannot
// read for the end of that log: a MANIFEST that lost its tail, or has one flipped bit, opens without an error, and with a
// part of the state. So it is with the write-ahead logs: one that is lost or cut short is taken for one that has ended, and
// those after it are read. (Tables are checked when they are read.)
//
// So each time Pebble has synced a MANIFEST, its length and checksum are recorded in seal.json, before Pebble goes on;
// and before Pebble opens the database, the MANIFEST is compared. It may be longer than the seal says, by what was
// written in the moment of a crash, but what was sealed must be there.
//
// While Pebble goes over to a new MANIFEST there are two of them, so the one in use at Open, and then the last two, are
// sealed.
//
// A log is sealed when it is closed, before Pebble makes the next, and until it is removed: after the seals have been written
// without it. Damage to the last one, which is not sealed while it is written, costs at most the last batches: what opens is
// a prefix.
type sealer struct {
	vfs.FS // the guard
	guard  *guard
	dir    string

	mu sync.Mutex
	seals
	unused []string // paths of sealed logs that Pebble has removed; they go with the next writing of the seals
}

// seal is what is known of the beginning of a file.
type seal struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
	CRC   uint32 `json:"crc32c"`
}

type seals struct {
	Files []seal `json:"files"` // MANIFESTs
	Logs  []seal `json:"logs,omitempty"`
}

const sealFile = "seal.json"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Create seals the database's MANIFEST and logs. A copy of the database has others, elsewhere.
func (s *sealer) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.Create(name, c)
	if err != nil {
		return nil, err
	}
	return s.sealed(f, name), nil
}

// ReuseForWrite makes a log out of one that is not needed any more.
func (s *sealer) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forget(from) {
		s.write()
	}
	f, err := s.FS.ReuseForWrite(from, to, c)
	if err != nil {
		return nil, err
	}
	return s.sealed(f, to), nil
}

func (s *sealer) sealed(f vfs.File, name string) vfs.File {
	file := sealedFile{File: f, sealer: s, now: seal{Name: s.PathBase(name)}}
	switch {
	case s.PathDir(name) != s.PathJoin(s.dir, "db"):
		return f
	case strings.HasPrefix(file.now.Name, "MANIFEST-"):
		return &sealedManifest{file}
	case strings.HasSuffix(file.now.Name, ".log"):
		return &sealedLog{file}
	}
	return f
}

// Remove removes a file, if it is a sealed log a little later.
func (s *sealer) Remove(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forget(name) {
		s.unused = append(s.unused, name)
		return nil
	}
	return s.FS.Remove(name)
}

// forget drops the seal of a log, if it has one.
func (s *sealer) forget(name string) bool {
	if s.PathDir(name) != s.PathJoin(s.dir, "db") {
		return false
	}
	n := len(s.Logs)
	s.Logs = slices.DeleteFunc(s.Logs, func(x seal) bool { return x.Name == s.PathBase(name) })
	return len(s.Logs) < n
}

func (s *sealer) Unwrap() vfs.FS { return s.FS }

// write records all seals, in place of those before. As for any other write, Pebble never sees it fail.
func (s *sealer) write() {
	body, err := json.Marshal(s.seals)
	if err == nil {
		err = writeFile(s.FS, s.dir, sealFile, sealManifest(body))
	}
	if err != nil {
		s.guard.fail(s.guard.ioError("seal", sealFile, err))
		park()
	}
	for _, name := range s.unused {
		_ = s.FS.Remove(name) // Pebble removes it at the next start, if it is still there
	}
	s.unused = nil
}

// sealedFile is a file that is being written. Pebble only appends to it, from one goroutine at a time.
type sealedFile struct {
	vfs.File
	sealer *sealer
	now    seal
}

func (f *sealedFile) Write(p []byte) (int, error) {
	crc := crc32.Update(f.now.CRC, castagnoli, p) // before Write, which may change p
	n, err := f.File.Write(p)
	if err == nil {
		f.now.CRC = crc
		f.now.Bytes += int64(n)
	}
	return n, err
}

// sealedManifest is a MANIFEST, which is sealed with each sync.
type sealedManifest struct{ sealedFile }

func (f *sealedManifest) Sync() error {
	if err := f.File.Sync(); err != nil {
		return err
	}
	s := f.sealer
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Files = slices.DeleteFunc(s.Files, func(old seal) bool { return old.Name == f.now.Name })
	s.Files = append(s.Files, f.now)
	if len(s.Files) > 2 {
		s.Files = s.Files[1:]
	}
	s.write()
	return nil
}

func (f *sealedManifest) SyncData() error { return f.Sync() }

// sealedLog is a write-ahead log, which Pebble syncs before it closes it.
type sealedLog struct{ sealedFile }

func (f *sealedLog) Close() error {
	if err := f.File.Close(); err != nil {
		return err
	}
	s := f.sealer
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Logs = append(s.Logs, f.now)
	s.write()
	return nil
}

// checkSeal compares the database's MANIFEST and logs with their seals, before the database is opened, and returns those.
func (s *Store) checkSeal() (seals, error) {
	desc, err := pebble.Peek(s.path("db"), s.fs)
	if err != nil {
		return seals{}, err
	}
	if !desc.Exists {
		return seals{}, pebble.ErrDBDoesNotExist
	}
	known, err := s.readSeals()
	if err != nil {
		return seals{}, fmt.Errorf("%w: %s: %w", ErrDamaged, sealFile, err)
	}
	name := s.fs.PathBase(desc.ManifestFilename)
	i := slices.IndexFunc(known.Files, func(k seal) bool { return k.Name == name })
	if i < 0 {
		return seals{}, fmt.Errorf("%w: %s is not sealed", ErrDamaged, name)
	}
	known.Files = known.Files[i : i+1]
	for _, want := range append(known.Files[:1:1], known.Logs...) {
		if err := s.compare(want); err != nil {
			return seals{}, err
		}
	}
	return known, nil
}

// compare looks whether a file begins with what was sealed.
func (s *Store) compare(want seal) error {
	content, err := readFile(s.fs, s.fs.PathJoin(s.path("db"), want.Name))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: %s is missing", ErrDamaged, want.Name)
	case err != nil:
		return err
	case int64(len(content)) < want.Bytes:
		return fmt.Errorf("%w: %s has %d bytes of %d", ErrDamaged, want.Name, len(content), want.Bytes)
	case crc32.Checksum(content[:want.Bytes], castagnoli) != want.CRC:
		return fmt.Errorf("%w: the checksum of %s does not match", ErrDamaged, want.Name)
	}
	return nil
}

func (s *Store) readSeals() (known seals, err error) {
	file, err := readFile(s.fs, s.path(sealFile))
	if err != nil {
		return known, err
	}
	body, err := openManifest(file)
	if err != nil {
		return known, err
	}
	err = json.Unmarshal(body, &known)
	return known, err
}
