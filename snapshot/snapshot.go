// Package snapshot is where an application keeps copies of its state, beside the changelogs from which it can always be
// rebuilt: with a copy, a task that comes to an empty disk reads a part of its changelog instead of all of it.
//
// A Store is a bucket of objects. Directory is one in a folder; snapshot/s3 has one in a bucket of S3, or of what speaks
// its protocol. What the engine writes there, and how it is checked, is described in docs/architecture.md.
//
// With Kinesis there are no changelogs: there a snapshot is what is left of the state when its disk is lost.
package snapshot

import (
	"context"
	"errors"
	"io"
	"time"
)

// Store keeps objects: bytes under a name that never change once they are there. Names are words of letters, digits and
// "._-", with slashes between them. Methods may be called from several goroutines. What a store gives back is never
// trusted; where there are changelogs, that it loses or damages objects costs time, and no result.
type Store interface {
	// Create writes an object. The error wraps ErrExists if there is one of that name, whoever wrote it: of two that
	// create the same name, one succeeds. After another error the object may be there, or a part of it.
	Create(ctx context.Context, name string, body io.ReadSeeker, size int64) error
	// Open returns an object's bytes. The error wraps ErrNotFound if there is none of that name.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	// List returns the objects whose names begin with a prefix, in no particular order.
	List(ctx context.Context, prefix string) ([]Object, error)
	// Delete removes an object. That there is none is no error.
	Delete(ctx context.Context, name string) error
}

// Object is an object as List names it.
type Object struct {
	Name string
	Size int64
}

// The errors of a Store that are told apart.
var (
	ErrExists   = errors.New("object exists already")
	ErrNotFound = errors.New("object does not exist")
)

// Config says where snapshots are kept, and how many.
type Config struct {
	// Store is where they are kept; nil: there are none.
	Store Store
	// Prefix begins the names of all objects, such as "prod/". Applications may share it; each uses a folder of its own.
	Prefix string
	// Every is how often an instance makes a snapshot. The default is 10 minutes. One older than 12 hours is not used, except
	// with Kinesis, where also the end of an application makes one, and where it must be less than the streams' retention.
	Every time.Duration
	// Keep is how many snapshots of an instance are kept; older ones are deleted, with the files that no other needs. The
	// default is 2, so that there is one before one that turns out to be damaged.
	Keep int
}
