package store

import "errors"

// The errors that a caller tells apart with errors.Is. The errors that are returned wrap them and say which directory is
// meant, what is wrong with it and how to mend it.
var (
	// ErrInUse: another process, or another store in this one, has the state directory open.
	ErrInUse = errors.New("state directory is in use")
	// ErrNewer: the state directory was written by a newer version of the program.
	ErrNewer = errors.New("state directory has a newer format")
	// ErrOtherTopology: the state directory belongs to another application, or to a topology with other stores.
	ErrOtherTopology = errors.New("state directory belongs to another topology")
	// ErrOtherLayout: the number of key groups or the exchange differs from the one the state was laid out by.
	ErrOtherLayout = errors.New("state directory has another layout")
	// ErrDamaged: a file of the state directory is missing, or is not what was written.
	ErrDamaged = errors.New("state directory is damaged")
	// ErrKey: the state directory is encrypted with a key that was not given.
	ErrKey = errors.New("state directory is encrypted with another key")
	// ErrIO: a write to the state directory failed. The store is of no use any more; its last state is on disk.
	ErrIO = errors.New("state directory cannot be written")
	// ErrDiskFull: the disk of the state directory is full. Writers wait until there is space again.
	ErrDiskFull = errors.New("disk is full")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store is closed")
	// ErrTooLarge: a batch is larger than MaxBatchBytes.
	ErrTooLarge = errors.New("batch is too large")
)
