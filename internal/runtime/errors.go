package runtime

import (
	"errors"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/checkpoint"
	"github.com/millstream-go/millstream/internal/snapshot"
	"github.com/millstream-go/millstream/internal/store"
)

// What Run can end with, for package stream to export. Its documentation is there.
var (
	ErrGrown         = errors.New("partitions were added to a keyed topic")
	ErrRunning       = errors.New("application is running already")
	ErrPositionGone  = checkpoint.ErrPositionGone
	ErrDeleted       = connect.ErrDeleted
	ErrRecreated     = connect.ErrRecreated
	ErrInUse         = store.ErrInUse
	ErrNewer         = store.ErrNewer
	ErrOtherTopology = store.ErrOtherTopology
	ErrOtherLayout   = store.ErrOtherLayout
	ErrDamaged       = store.ErrDamaged
	ErrDiskFull      = store.ErrDiskFull
	ErrIO            = store.ErrIO
	ErrKey           = store.ErrKey

	ErrSnapshotDamaged = snapshot.ErrDamaged
	ErrSuperseded      = snapshot.ErrSuperseded
)
