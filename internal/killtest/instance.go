package main

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/checkpoint"
	"github.com/millstream-go/millstream/internal/process"
)

// fleet is the processes of one run.
type fleet struct {
	*process.Group
	instances  []*instance
	epochs     int // of all, since the last kill
	total      int
	restores   []time.Duration // from the start of a killed process to its first epoch
	wiped      int
	timed      bool // whether a standstill counts
	lastEpoch  time.Time
	standstill time.Duration // the longest time without an epoch
}

// instance is one of them.
type instance struct {
	*process.Process
	f       *fleet
	workers int
	epochs  int // since the start
	armed   string
	at      string          // the place that it has come to
	tasks   int             // restored, over all starts
	has     map[string]bool // those restored since the start, and whether something was in the store or nothing in the changelog
	local   map[string]bool // of which something is in the store
	wiped   bool            // counted for this start
	warm    int             // how often it asked for tasks of which it had made itself copies, over all starts
}

func newFleet(ctx context.Context, bin, dir string, n int, args []string) *fleet {
	f := &fleet{Group: process.New(ctx, bin, dir, args)}
	for i := range n {
		x := &instance{f: f, local: map[string]bool{}, workers: 2}
		x.Process = f.Add(string(rune('a'+i)), x)
		f.instances = append(f.instances, x)
	}
	return f
}

// Args implements process.Kind.
func (x *instance) Args() []string { return []string{"-workers", strconv.Itoa(x.workers)} }

// Begun implements process.Kind.
func (x *instance) Begun() {
	x.epochs, x.armed, x.at, x.wiped, x.has = 0, "", "", false, map[string]bool{}
}

// Heard implements process.Kind.
func (x *instance) Heard(text string) {
	line := strings.Fields(text)
	if len(line) == 0 {
		return
	}
	f := x.f
	switch line[0] {
	case "armed":
		x.armed = line[1]
	case "at":
		x.at = line[1]
	case "epoch":
		if x.epochs == 0 && x.Killed {
			f.restores = append(f.restores, time.Since(x.Started))
		}
		x.epochs++
		f.epochs++
		f.total++
		f.stood()
	case "restored":
		if len(line) == 5 {
			x.restored(line[1], line[2] == "true", line[3], line[4])
		}
	case "warm":
		x.warm++
	}
}

// stood measures the time since the last epoch. The fleet is locked.
func (f *fleet) stood() {
	if f.timed {
		f.standstill = max(f.standstill, time.Since(f.lastEpoch))
	}
	f.lastEpoch = time.Now()
}

// restored checks that a task of which something was in this instance's store finds it there again.
func (x *instance) restored(task string, local bool, from, records string) {
	if x.local[task] && (!local || from == "0") && !x.wiped {
		x.wiped = true
		x.f.wiped++
	}
	if local || records != "0" {
		x.local[task] = true
	}
	x.tasks++
	x.has[task] = local || records == "0"
}

// noticed says that a process has ended because its state and the committed positions do not belong together, or are behind
// what was processed and deleted: a planted
// mistake that the application finds by itself is found.
func (f *fleet) noticed() bool {
	for _, x := range f.instances {
		b, err := os.ReadFile(f.Log(x.Name))
		if err != nil {
			continue
		}
		for _, e := range []error{checkpoint.ErrStateBehind, checkpoint.ErrPositionGone, connect.ErrDeleted} {
			if bytes.Contains(b, []byte(e.Error())) {
				return true
			}
		}
	}
	return false
}
