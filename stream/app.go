package stream

import (
	"context"

	engine "github.com/millstream-go/millstream/internal/runtime"
)

// App is a topology that is ready to run.
type App struct{ app *engine.App }

// Run runs the application until ctx ends, or until something stops it that trying again cannot mend: a record whose
// policy is to fail, a panic in a timer, a disk that fails. What passes by itself (brokers that restart, partitions
// that move, a commit that times out) it goes through, and goes on from the last commit.
//
// When ctx ends, Run commits what was processed and returns nil, within two seconds as long as the brokers answer. The
// instance keeps its place in the group (unless Config.Dynamic): started again within the SessionTimeout, it goes on
// with the same tasks, and nothing moves. See Leave for going away for good.
//
// The first Run of an App fails, with all mistakes at once, if sources or sinks do not exist, if internal topics exist
// with other settings, or if the state directory is in use or belongs to another topology or a newer version.
func (a *App) Run(ctx context.Context) error { return a.app.Run(ctx) }

// Leave commits, gives up the instance's place in the group so that the others take over its tasks at once, and makes
// Run return nil. It is for scaling in; a restart needs no Leave.
//
// Run ends also if Leave fails: where the last commit fails, the others process again what was not committed; where the
// coordinator cannot be told, they have the tasks after the SessionTimeout. While no session is open, because brokers
// are away, Leave waits for one until ctx ends.
func (a *App) Leave(ctx context.Context) error { return a.app.Leave(ctx) }

// TaskStatus is how a task stands.
type TaskStatus = engine.TaskStatus

// StandbyStatus is how a copy of the state of a task that another instance runs stands (Config.Standbys).
type StandbyStatus = engine.StandbyStatus

// Status is how this instance stands.
type Status struct {
	Tasks    []TaskStatus    // of this instance, in the order of their ids
	Standbys []StandbyStatus // copies of the state of others' tasks, in the same order
}

// Status asks the workers how their tasks stand, between two steps. It may be called from any goroutine; while the
// application does not run, there are no tasks.
func (a *App) Status(ctx context.Context) (Status, error) {
	return Status{a.app.Status(ctx), a.app.Standbys()}, ctx.Err()
}
