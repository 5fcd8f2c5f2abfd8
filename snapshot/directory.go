package snapshot

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Directory is a Store in a folder, such as one of a network file system: every object is a file. It must not be within
// Config.StateDir, which is lost together with its disk. Folders that it makes are 0700, files 0600.
type Directory struct{ path string }

// NewDirectory returns the store in a folder, which is made when it is needed.
func NewDirectory(path string) *Directory { return &Directory{path: path} }

// part is what the names of files that are being written end with.
const part = ".part"

// root opens the folder; names cannot lead out of it.
func (d *Directory) root() (*os.Root, error) {
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return nil, err
	}
	return os.OpenRoot(d.path)
}

// Create implements Store: the file is written under another name, synced, and linked to its own, which fails if that
// exists.
func (d *Directory) Create(ctx context.Context, name string, body io.ReadSeeker, size int64) (err error) {
	defer wrap(&err, "create", name)
	root, err := d.root()
	if err != nil {
		return err
	}
	defer closing(root, &err)
	file := filepath.FromSlash(name)
	if err := root.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	tmp := file + "." + rand.Text() + part
	f, err := root.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if rerr := root.Remove(tmp); err == nil {
			err = rerr
		}
	}()
	n, err := io.Copy(f, reader{ctx, body})
	if err == nil && n != size {
		err = fmt.Errorf("it has %d bytes, and should have %d", n, size)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := root.Link(tmp, file); errors.Is(err, fs.ErrExist) {
		return ErrExists
	} else if err != nil {
		return err
	}
	dir, err := root.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Open implements Store.
func (d *Directory) Open(_ context.Context, name string) (r io.ReadCloser, err error) {
	defer wrap(&err, "open", name)
	root, err := d.root()
	if err != nil {
		return nil, err
	}
	defer closing(root, &err)
	f, err := root.Open(filepath.FromSlash(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// List implements Store.
func (d *Directory) List(ctx context.Context, prefix string) (list []Object, err error) {
	defer wrap(&err, "list", prefix)
	root, err := d.root()
	if err != nil {
		return nil, err
	}
	defer closing(root, &err)
	err = fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // deleted meanwhile
		}
		if err != nil || e.IsDir() || !strings.HasPrefix(name, prefix) || strings.HasSuffix(name, part) {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		list = append(list, Object{Name: name, Size: info.Size()})
		return nil
	})
	return list, err
}

// Delete implements Store.
func (d *Directory) Delete(_ context.Context, name string) (err error) {
	defer wrap(&err, "delete", name)
	root, err := d.root()
	if err != nil {
		return err
	}
	defer closing(root, &err)
	if err := root.Remove(filepath.FromSlash(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func wrap(err *error, what, name string) {
	if *err != nil {
		*err = fmt.Errorf("snapshot directory: %s %s: %w", what, name, *err)
	}
}

func closing(c io.Closer, err *error) {
	if cerr := c.Close(); *err == nil {
		*err = cerr
	}
}

// reader ends when its context does.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
