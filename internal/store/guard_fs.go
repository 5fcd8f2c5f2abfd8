package store

import (
	"errors"
	"io"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The operations of vfs.FS and vfs.File that change the disk, each by one of guard's try, once and retry.

func (g *guard) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.open("create", name, func() (vfs.File, error) { return g.FS.Create(name, c) })
}

func (g *guard) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return g.open("open", name, func() (vfs.File, error) { return g.FS.OpenReadWrite(name, c, o...) })
}

func (g *guard) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	tried := false
	return g.open("reuse", to, func() (vfs.File, error) {
		f, err := g.FS.ReuseForWrite(from, to, c)
		if tried && errors.Is(err, os.ErrNotExist) { // the attempt that failed had moved or deleted it before
			return g.FS.Create(to, c)
		}
		tried = true
		return f, err
	})
}

func (g *guard) open(what, name string, op func() (vfs.File, error)) (vfs.File, error) {
	var f vfs.File
	g.retry(what, name, func() (err error) {
		f, err = op()
		return err
	})
	return &guardedFile{File: f, g: g, name: name}, nil
}

func (g *guard) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &guardedFile{File: f, g: g, name: name}, nil
}

func (g *guard) Rename(from, to string) error {
	g.retry("rename", to, func() error { return g.FS.Rename(from, to) })
	return nil
}

func (g *guard) MkdirAll(dir string, perm os.FileMode) error {
	g.retry("make directory", dir, func() error { return g.FS.MkdirAll(dir, perm) })
	return nil
}

func (g *guard) Link(from, to string) error {
	return g.try(func() error { return g.FS.Link(from, to) })
}

func (g *guard) Remove(name string) error {
	return g.try(func() error { return g.FS.Remove(name) })
}

func (g *guard) RemoveAll(name string) error {
	return g.try(func() error { return g.FS.RemoveAll(name) })
}

func (g *guard) Lock(name string) (io.Closer, error) {
	g.begin()
	defer g.end()
	c, err := g.FS.Lock(name)
	if err != nil {
		return nil, err
	}
	l := &heldLock{Closer: c}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.locks = append(g.locks, l)
	return l, nil
}

func (g *guard) Unwrap() vfs.FS { return g.FS }

// guardedFile is a file that may be written, or a directory that may be synced.
type guardedFile struct {
	vfs.File
	g    *guard
	name string
}

func (f *guardedFile) Write(p []byte) (int, error) {
	rest := p // a full disk may take a part of it
	f.g.retry("write", f.name, func() error {
		n, err := f.File.Write(rest)
		rest = rest[n:]
		return err
	})
	return len(p), nil
}

func (f *guardedFile) WriteAt(p []byte, offset int64) (int, error) {
	f.g.retry("write", f.name, func() error {
		_, err := f.File.WriteAt(p, offset)
		return err
	})
	return len(p), nil
}

func (f *guardedFile) Preallocate(offset, length int64) error {
	return f.g.try(func() error { return f.File.Preallocate(offset, length) })
}

// Stat only reads, but Pebble panics if it fails for a log that it is about to write.
func (f *guardedFile) Stat() (info vfs.FileInfo, err error) {
	f.g.once("look at", f.name, func() (err error) {
		info, err = f.File.Stat()
		return err
	})
	return info, nil
}

func (f *guardedFile) Sync() error {
	f.g.once("sync", f.name, f.File.Sync)
	return nil
}

func (f *guardedFile) SyncData() error {
	f.g.once("sync", f.name, f.File.SyncData)
	return nil
}

func (f *guardedFile) SyncTo(length int64) (full bool, err error) {
	f.g.once("sync", f.name, func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, nil
}

func (f *guardedFile) Close() error {
	f.g.once("close", f.name, f.File.Close)
	return nil
}

// heldLock is a file lock that can be given up by the guard and by its owner, in any order.
type heldLock struct {
	io.Closer
	once sync.Once
	err  error
}

func (l *heldLock) Close() error {
	l.once.Do(func() { l.err = l.Closer.Close() })
	return l.err
}
