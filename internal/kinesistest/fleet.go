package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/millstream-go/millstream/internal/process"
)

// fleet is the processes of one run.
type fleet struct {
	*process.Group
	dir       string
	instances []*instance
	epochs    int // of all, since the last kill
}

// instance is one of them.
type instance struct {
	*process.Process
	f      *fleet
	role   string
	epochs int // since the start
	at     string
	disks  int // that were lost
}

func newFleet(ctx context.Context, bin, dir string, args []string, roles ...string) *fleet {
	f := &fleet{Group: process.New(ctx, bin, dir, args), dir: dir}
	for i, role := range roles {
		x := &instance{f: f, role: role}
		x.Process = f.Add(fmt.Sprintf("%s-%c", role, 'a'+i), x)
		f.instances = append(f.instances, x)
	}
	return f
}

// Args implements process.Kind.
func (x *instance) Args() []string {
	args := []string{"-role", x.role, "-snapshots", filepath.Join(x.f.dir, "snapshots")}
	if x.disks > 0 {
		args = append(args, "-state", filepath.Join(x.f.dir, fmt.Sprintf("%s-%d", x.Name, x.disks)))
	}
	return args
}

// Begun implements process.Kind.
func (x *instance) Begun() { x.epochs, x.at = 0, "" }

// Heard implements process.Kind.
func (x *instance) Heard(line string) {
	switch word, place, _ := strings.Cut(line, " "); word {
	case "at":
		x.at = place
	case "epoch":
		x.epochs++
		x.f.epochs++
	}
}

// counts says that the end of this process would count: it has committed since its start, and somebody since the last kill. The
// fleet is locked.
func (x *instance) counts() bool {
	return x.Alive && !x.Frozen && !x.Ending && x.epochs > 0 && x.f.epochs > 0
}
