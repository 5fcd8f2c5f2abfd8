package store

import (
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is the operating system's file system. What it makes is for the user who runs the process alone: directories are
// 0700, files 0600.
type disk struct{ vfs.FS }

const (
	dirMode  fs.FileMode = 0o700
	fileMode fs.FileMode = 0o600
)

func (d disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return private(name)(d.FS.Create(name, c))
}

func (d disk) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return private(name)(d.FS.OpenReadWrite(name, c, o...))
}

func (d disk) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return private(to)(d.FS.ReuseForWrite(from, to, c))
}

func (d disk) MkdirAll(dir string, _ os.FileMode) error { return d.FS.MkdirAll(dir, dirMode) }

func (d disk) Lock(name string) (io.Closer, error) {
	c, err := d.FS.Lock(name)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(name, fileMode); err != nil {
		return nil, fmt.Errorf("%w (%v)", err, c.Close())
	}
	return c, nil
}

func (d disk) Unwrap() vfs.FS { return d.FS }

// private narrows the mode of a file that was just opened for writing.
func private(name string) func(vfs.File, error) (vfs.File, error) {
	return func(f vfs.File, err error) (vfs.File, error) {
		if err != nil {
			return nil, err
		}
		if err := os.Chmod(name, fileMode); err != nil {
			_ = f.Close() // the error that counts is the first
			return nil, err
		}
		return f, nil
	}
}

// checkDir refuses a state directory that is a symbolic link: it could be pointed elsewhere while the store is open.
func checkDir(dir string) error {
	info, err := os.Lstat(dir)
	switch {
	case os.IsNotExist(err):
		return nil
	case err != nil:
		return fmt.Errorf("look at state directory %s: %w", dir, err)
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("state directory %s is a symbolic link: name the directory it points to", dir)
	case !info.IsDir():
		return fmt.Errorf("state directory %s is not a directory: move the file away, or name another directory", dir)
	}
	return nil
}
