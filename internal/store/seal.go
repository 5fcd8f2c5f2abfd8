package store

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Pebble's MANIFEST is the log of which tables the database consists of. Pebble takes the first record that it cannot
// read for the end of that log: a MANIFEST that lost its tail, or has one flipped bit, opens without an error, and with a
// part of the state. (Tables are checked when they are read. Damage to the
// write-ahead log costs at most the last batches: what opens is a prefix.)
//
// So each time Pebble has synced a MANIFEST, its length and checksum are recorded in seal.json, before Pebble goes on;
// and before Pebble opens the database, the MANIFEST is compared. It may be longer than the seal says, by what was
// written in the moment of a crash, but what was sealed must be there.
//
// While Pebble goes over to a new MANIFEST there are two of them, so the one in use at Open, and then the last two, are
// sealed.
type sealer struct {
	vfs.FS // the guard
	dir    string

	mu    sync.Mutex
	seals []seal
}

// seal is what is known of the beginning of a file.
type seal struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
	CRC   uint32 `json:"crc32c"`
}

type seals struct {
	Files []seal `json:"files"`
}

const sealFile = "seal.json"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Create seals the database's MANIFEST. A copy of the database has one of its own, elsewhere.
func (s *sealer) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.Create(name, c)
	base := s.PathBase(name)
	if err != nil || !strings.HasPrefix(base, "MANIFEST-") || s.PathDir(name) != s.PathJoin(s.dir, "db") {
		return f, err
	}
	return &sealedFile{File: f, sealer: s, now: seal{Name: base}}, nil
}

func (s *sealer) Unwrap() vfs.FS { return s.FS }

// save records the seal of a file in place of an older one.
func (s *sealer) save(now seal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seals = slices.DeleteFunc(s.seals, func(old seal) bool { return old.Name == now.Name })
	s.seals = append(s.seals, now)
	if len(s.seals) > 2 {
		s.seals = s.seals[1:]
	}
	body, err := json.Marshal(seals{s.seals})
	if err != nil {
		return fmt.Errorf("encode seal: %w", err)
	}
	return writeFile(s.FS, s.dir, sealFile, sealManifest(body))
}

// sealedFile is a MANIFEST that is being written. Pebble only appends to it, from one goroutine at a time.
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

func (f *sealedFile) Sync() error {
	if err := f.File.Sync(); err != nil {
		return err
	}
	return f.sealer.save(f.now)
}

func (f *sealedFile) SyncData() error { return f.Sync() }

// checkSeal compares the database's MANIFEST with its seal, before the database is opened, and returns the seal.
func (s *Store) checkSeal() (seal, error) {
	desc, err := pebble.Peek(s.path("db"), s.fs)
	if err != nil {
		return seal{}, err
	}
	if !desc.Exists {
		return seal{}, pebble.ErrDBDoesNotExist
	}
	known, err := s.readSeals()
	if err != nil {
		return seal{}, fmt.Errorf("%w: %s: %w", ErrDamaged, sealFile, err)
	}
	name := s.fs.PathBase(desc.ManifestFilename)
	i := slices.IndexFunc(known, func(k seal) bool { return k.Name == name })
	if i < 0 {
		return seal{}, fmt.Errorf("%w: %s is not sealed", ErrDamaged, name)
	}
	content, err := readFile(s.fs, desc.ManifestFilename)
	if err != nil {
		return seal{}, err
	}
	want := known[i]
	if int64(len(content)) < want.Bytes {
		return seal{}, fmt.Errorf("%w: %s has %d bytes of %d", ErrDamaged, name, len(content), want.Bytes)
	}
	if crc32.Checksum(content[:want.Bytes], castagnoli) != want.CRC {
		return seal{}, fmt.Errorf("%w: the checksum of %s does not match", ErrDamaged, name)
	}
	return want, nil
}

func (s *Store) readSeals() ([]seal, error) {
	file, err := readFile(s.fs, s.path(sealFile))
	if err != nil {
		return nil, err
	}
	body, err := openManifest(file)
	if err != nil {
		return nil, err
	}
	var known seals
	err = json.Unmarshal(body, &known)
	return known.Files, err
}
