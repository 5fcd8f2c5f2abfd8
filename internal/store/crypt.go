package store

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Encryption. crypt stands between the store and the disk: every file begins with a header, and what follows is
// encrypted with AES-256 in counter mode, under a key that is derived from the current one and from random bytes in the
// header.
//
//	"MSCRYPT1" | id of the key, 8 bytes | salt, 32 bytes | zeros, 16 bytes
//
// Counter mode lets any part be read and files be appended to. It keeps secret what is in the files, not their names and
// sizes, and is no protection against somebody who can write to the disk: of that the store's checksums find accidents.
// What leaves the machine is authenticated: see Seal.
//
// A directory that was not encrypted is encrypted when it is opened with a key, and one with an old key anew. Files are
// replaced one by one, manifest.json last: as long as that is as before, others may be.
type crypt struct {
	vfs.FS
	keys Keys
}

const (
	cryptMagic  = "MSCRYPT1"
	saltLen     = 32
	cryptHeader = len(cryptMagic) + len(keyID{}) + saltLen + 16
)

func (c *crypt) Unwrap() vfs.FS { return c.FS }

func (c *crypt) Create(name string, cat vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := c.FS.Create(name, cat)
	if err != nil {
		return nil, err
	}
	return c.begin(f)
}

// begin writes a new file's header.
func (c *crypt) begin(f vfs.File) (vfs.File, error) {
	h := make([]byte, cryptHeader)
	n := copy(h, cryptMagic)
	id := idOf(c.keys.Current)
	n += copy(h[n:], id[:])
	salt := h[n : n+saltLen]
	_, _ = rand.Read(salt) // it does not fail
	b, err := block(c.keys.Current, salt)
	if err == nil {
		_, err = f.Write(h)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &cryptFile{File: f, block: b}, nil
}

func (c *crypt) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := c.FS.Open(name, o...)
	if err != nil {
		return nil, err
	}
	return c.read(name, f)
}

func (c *crypt) OpenReadWrite(name string, cat vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := c.FS.OpenReadWrite(name, cat, o...)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil {
		return nil, errors.Join(err, f.Close())
	} else if info.Size() == 0 {
		return c.begin(f)
	}
	return c.read(name, f)
}

// read reads the header of a file.
func (c *crypt) read(name string, f vfs.File) (vfs.File, error) {
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return f, nil
	}
	b, err := c.header(f)
	if err == nil && b == nil {
		return emptyFile{f}, nil
	}
	if err == nil {
		_, err = io.CopyN(io.Discard, f, int64(cryptHeader)) // reading goes on behind it
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
	}
	return &cryptFile{File: f, block: b}, nil
}

// header returns the cipher of a file, or nil for one that a loss of power has left without a header: nothing in it was
// synced, so it is empty.
func (c *crypt) header(f vfs.File) (cipher.Block, error) {
	h := make([]byte, cryptHeader)
	n, err := f.ReadAt(h, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n < len(h) || bytes.Equal(h, make([]byte, cryptHeader)) {
		return nil, nil
	}
	if string(h[:len(cryptMagic)]) != cryptMagic {
		return nil, fmt.Errorf("%w: it is not encrypted, and should be", ErrDamaged)
	}
	var id keyID
	copy(id[:], h[len(cryptMagic):])
	key, err := c.keys.find(id)
	if err != nil {
		return nil, err
	}
	return block(key, h[len(cryptMagic)+len(id):][:saltLen])
}

// emptyFile is a file without a header.
type emptyFile struct{ vfs.File }

func (f emptyFile) Read([]byte) (int, error)          { return 0, io.EOF }
func (f emptyFile) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }
func (f emptyFile) Fd() uintptr                       { return vfs.InvalidFd }
func (f emptyFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	if err != nil {
		return nil, err
	}
	return emptyInfo{info}, nil
}

type emptyInfo struct{ vfs.FileInfo }

func (emptyInfo) Size() int64 { return 0 }

// ReuseForWrite makes a new file: written over, the old one's key stream would be used twice.
func (c *crypt) ReuseForWrite(from, to string, cat vfs.DiskWriteCategory) (vfs.File, error) {
	if err := c.FS.Remove(from); err != nil {
		return nil, err
	}
	return c.Create(to, cat)
}

func (c *crypt) Stat(name string) (vfs.FileInfo, error) {
	info, err := c.FS.Stat(name)
	if err != nil {
		return nil, err
	}
	return cryptInfo{info}, nil
}

// cryptInfo does not count the header.
type cryptInfo struct{ vfs.FileInfo }

func (i cryptInfo) Size() int64 {
	if i.IsDir() {
		return i.FileInfo.Size()
	}
	return max(0, i.FileInfo.Size()-int64(cryptHeader))
}

// cryptFile is an encrypted file. Offsets do not count the header.
type cryptFile struct {
	vfs.File
	block cipher.Block
	at    int64  // of Read and Write
	buf   []byte // of what is written
}

// xor encrypts or decrypts what stands at an offset.
func (f *cryptFile) xor(dst, src []byte, offset int64) {
	var iv, skip [16]byte
	binary.BigEndian.PutUint64(iv[8:], uint64(offset/16))
	s := cipher.NewCTR(f.block, iv[:])
	s.XORKeyStream(skip[:offset%16], skip[:offset%16])
	s.XORKeyStream(dst, src)
}

func (f *cryptFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	f.xor(p[:n], p[:n], f.at)
	f.at += int64(n)
	return n, err
}

func (f *cryptFile) ReadAt(p []byte, offset int64) (int, error) {
	n, err := f.File.ReadAt(p, offset+int64(cryptHeader))
	f.xor(p[:n], p[:n], offset)
	return n, err
}

// Write does not change p, although it might: what fails for want of space is tried again.
func (f *cryptFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(f.encrypted(p, f.at))
	f.at += int64(n)
	return n, err
}

func (f *cryptFile) WriteAt(p []byte, offset int64) (int, error) {
	return f.File.WriteAt(f.encrypted(p, offset), offset+int64(cryptHeader))
}

func (f *cryptFile) encrypted(p []byte, offset int64) []byte {
	if cap(f.buf) < len(p) {
		f.buf = make([]byte, len(p))
	}
	b := f.buf[:len(p)]
	f.xor(b, p, offset)
	return b
}

func (f *cryptFile) Preallocate(offset, length int64) error {
	return f.File.Preallocate(offset+int64(cryptHeader), length)
}

func (f *cryptFile) SyncTo(length int64) (bool, error) {
	return f.File.SyncTo(length + int64(cryptHeader))
}

func (f *cryptFile) Prefetch(offset, length int64) error {
	return f.File.Prefetch(offset+int64(cryptHeader), length)
}

// Fd hides the descriptor, by which a reader would get around the decryption.
func (f *cryptFile) Fd() uintptr { return vfs.InvalidFd }

func (f *cryptFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	if err != nil {
		return nil, err
	}
	return cryptInfo{info}, nil
}

// lockedBy returns what a file was encrypted with; ok is false if it is not encrypted, or not there.
func lockedBy(fs vfs.FS, name string) (id keyID, ok bool, err error) {
	f, err := fs.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return id, false, nil
	}
	if err != nil {
		return id, false, err
	}
	h := make([]byte, len(cryptMagic)+len(id))
	n, err := f.ReadAt(h, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return id, false, err
	}
	copy(id[:], h[len(cryptMagic):])
	return id, n == len(h) && strings.HasPrefix(string(h), cryptMagic), nil
}

// encryptAll brings a directory to the current key, before anything in it is read: from an old key, or from none.
func (s *Store) encryptAll() error {
	manifest := s.path("manifest.json")
	have, locked, err := lockedBy(s.raw, manifest)
	if err != nil {
		return fmt.Errorf("read %s: %w", manifest, err)
	}
	c, on := s.fs.(*crypt)
	if !on {
		if locked {
			return fmt.Errorf("%w: state directory %s is encrypted, and there is no key: set Config.StateKeys", ErrKey, s.opts.Dir)
		}
		return nil
	}
	if locked {
		if _, err := c.keys.find(have); err != nil {
			return fmt.Errorf("state directory %s: %w", s.opts.Dir, err)
		}
		if have == idOf(c.keys.Current) {
			return nil
		}
	} else if _, err := s.raw.Stat(manifest); errors.Is(err, os.ErrNotExist) {
		return nil // it is new
	} else if err != nil {
		return fmt.Errorf("read %s: %w", manifest, err)
	}
	s.opts.Logger.Info("the state directory is being encrypted with another key", "dir", s.opts.Dir, "key", idOf(c.keys.Current).String())
	for _, dir := range []string{s.path("db"), s.opts.Dir} {
		names, err := s.raw.List(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("list %s: %w", dir, err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, ".tmp") { // of a process that was killed here
				if err := s.raw.Remove(s.raw.PathJoin(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
					return fmt.Errorf("remove %s: %w", name, err)
				}
				continue
			}
			if name = s.raw.PathJoin(dir, name); name != manifest {
				if err := s.encrypt(c, name, !locked); err != nil {
					return fmt.Errorf("encrypt %s: %w", name, err)
				}
			}
		}
	}
	if err := s.encrypt(c, manifest, !locked); err != nil {
		return fmt.Errorf("encrypt %s: %w", manifest, err)
	}
	return nil
}

// encrypt replaces one file. plain says that it may be one that is not encrypted.
func (s *Store) encrypt(c *crypt, name string, plain bool) error {
	info, err := s.raw.Stat(name)
	if err != nil {
		return err
	}
	if info.IsDir() || s.raw.PathBase(name) == "LOCK" {
		return nil
	}
	id, locked, err := lockedBy(s.raw, name)
	if err != nil || locked && id == idOf(c.keys.Current) {
		return err
	}
	from := vfs.FS(c)
	if plain && !locked {
		from = s.raw
	}
	in, err := from.Open(name)
	if err != nil {
		return err
	}
	out, err := c.Create(name+".tmp", vfs.WriteCategoryUnspecified)
	if err != nil {
		return errors.Join(err, in.Close())
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, in.Close(), out.Close()); err != nil {
		return err
	}
	if err := s.raw.Rename(name+".tmp", name); err != nil {
		return err
	}
	return syncDir(s.raw, s.raw.PathDir(name))
}
