package stream

import (
	engine "github.com/millstream-go/millstream/internal/runtime"
	"github.com/millstream-go/millstream/stream/codec"
)

// The errors of Run that a program may want to tell apart, with errors.Is. What Run returns wraps them, and says what
// is wrong where and how to mend it.
var (
	// ErrRunning: Run was called while the application runs.
	ErrRunning = engine.ErrRunning
	// ErrGrown: partitions were added to a topic that is read with FromKeyed, so that keys have changed their place.
	ErrGrown = engine.ErrGrown
	// ErrDeleted: the broker deleted records of a source before they were read. See source.OnDeleted.
	ErrDeleted = engine.ErrDeleted
	// ErrRecreated: a source was deleted, or recreated under its name, so that positions and state belong to another one.
	ErrRecreated = engine.ErrRecreated
	// ErrPositionGone: the group has no position for a partition that the state has taken records from, so that they would
	// be counted again.
	ErrPositionGone = engine.ErrPositionGone
	// ErrInUse: another process, or another App in this one, runs on the state directory.
	ErrInUse = engine.ErrInUse
	// ErrNewer: the state directory was written by a newer version of Millstream.
	ErrNewer = engine.ErrNewer
	// ErrOtherTopology: the state directory belongs to another application, or to a topology with other stores.
	ErrOtherTopology = engine.ErrOtherTopology
	// ErrCodec: a store holds what was written with a codec that the program's does not read. See codec.Version.
	ErrCodec = codec.ErrUnreadable
	// ErrOtherLayout: Config.KeyGroups or Config.Exchange is not the one that the state was made with.
	ErrOtherLayout = engine.ErrOtherLayout
	// ErrDamaged: a file of the state directory is missing, or is not what was written.
	ErrDamaged = engine.ErrDamaged
	// ErrKey: the state directory is encrypted with a key that is not among Config.StateKeys.
	ErrKey = engine.ErrKey
	// ErrSnapshotDamaged: the state directory is empty, there are snapshots of what was in it, none of them is intact, and
	// there is no changelog (Kinesis).
	ErrSnapshotDamaged = engine.ErrSnapshotDamaged
	// ErrSuperseded: another instance has been started on the state in Config.Snapshots, of which there can be one at a time
	// (Kinesis).
	ErrSuperseded = engine.ErrSuperseded
	// ErrDiskFull: the disk of the state directory was full at the start, or two seconds after the application was told to
	// end. While it runs, a full disk does not end it: it waits for space.
	ErrDiskFull = engine.ErrDiskFull
	// ErrIO: a write to the state directory failed. What was committed is not lost: start again once the disk is mended,
	// or on another one.
	ErrIO = engine.ErrIO
)
