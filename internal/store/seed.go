package store

import (
	"errors"
	"fmt"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A directory that holds no state may begin with a copy of a database (Options.Seed) instead of an empty one. The copy's
// directory is renamed to be the database's, and the manifest is written once that is open. What a process leaves that is
// killed between the two would look like state without a manifest. So there is a file that says that the directory is being
// seeded, from before the first step until after the last; where Open finds it, it throws everything away and begins again.

const seedingFile = "seeding"

// seed asks for a copy and makes it the database. It returns what the manifest says of it, nil if there is none.
func (s *Store) seed() (*manifest, error) {
	if s.opts.Seed == nil {
		return nil, nil
	}
	if _, err := s.fs.Stat(s.path("db")); !errors.Is(err, os.ErrNotExist) {
		return nil, err // Open ended early, or the manifest was lost: adoptDB tells those apart
	}
	i, err := s.opts.Seed(s)
	if err != nil || i == nil {
		return nil, err
	}
	for _, step := range []func() error{
		i.closeDB,
		i.sync,
		func() error { return writeFile(s.fs, s.opts.Dir, seedingFile, nil) },
		func() error { return s.fs.Rename(i.dir, s.path("db")) },
		func() error { return syncDir(s.fs, s.opts.Dir) },
	} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("begin %s with a copy of a database: %w", s.opts.Dir, errors.Join(err, i.Close()))
		}
	}
	return &manifest{App: i.Layout.App, KeyGroups: i.Layout.KeyGroups, Exchange: i.Layout.Exchange, Stores: i.Layout.Stores}, nil
}

// seeded says whether the manifest is that of a copy, which has no identity of its own yet.
func (m *manifest) seeded() bool { return m != nil && m.Database == "" }

// sync brings the copy's files to the disk.
func (i *Import) sync() error {
	names, err := i.s.raw.List(i.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		f, err := i.s.raw.OpenReadWrite(i.s.raw.PathJoin(i.dir, name), vfs.WriteCategoryUnspecified)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return syncDir(i.s.raw, i.dir)
}

// keepSeed ends the seeding: the directory is like any other.
func (s *Store) keepSeed() error {
	err := s.fs.Remove(s.path(seedingFile))
	if err == nil {
		err = syncDir(s.fs, s.opts.Dir)
	}
	if err != nil {
		return fmt.Errorf("begin %s with a copy of a database: %w", s.opts.Dir, err)
	}
	return nil
}

// dropSeed removes what a process that was killed while it seeded the directory has left.
func (s *Store) dropSeed() error {
	if _, err := s.fs.Stat(s.path(seedingFile)); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("look for %s: %w", s.path(seedingFile), err)
	}
	for _, name := range []string{"manifest.json", sealFile, "db", seedingFile} {
		err := s.fs.RemoveAll(s.path(name))
		if err == nil || errors.Is(err, os.ErrNotExist) {
			err = syncDir(s.fs, s.opts.Dir)
		}
		if err != nil {
			return fmt.Errorf("remove what is left of a copy of a database: %w", err)
		}
	}
	return nil
}
