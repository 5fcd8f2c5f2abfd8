package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/checkpoint"
)

// fleet is the processes of one run. All fields of its instances are guarded by mu; every line that a process says, and
// every end of one, wakes those who wait in until.
type fleet struct {
	ctx  context.Context
	args []string // of "killtest app"
	bin  string
	dir  string

	mu         sync.Mutex
	woken      *sync.Cond
	instances  []*instance
	epochs     int // of all, since the last kill
	total      int
	restores   []time.Duration // from the start of a killed process to its first epoch
	wiped      int
	err        error // a process ended by itself
	timed      bool  // whether a standstill counts
	lastEpoch  time.Time
	standstill time.Duration // the longest time without an epoch
}

// instance is one of them, over all its restarts.
type instance struct {
	f     *fleet
	name  string
	pid   int
	stdin io.WriteCloser

	started time.Time
	killed  bool // the last process was
	alive   bool
	stopped bool
	workers int
	hold    bool // do not restart
	ending  bool // it was asked to end
	epochs  int  // since the start
	armed   string
	at      string          // the place that it has come to
	tasks   int             // restored, over all starts
	has     map[string]bool // those restored since the start, and whether something was in the store or nothing in the changelog
	local   map[string]bool // of which something is in the store
	wiped   bool            // counted for this start
}

func newFleet(ctx context.Context, bin, dir string, n int, args []string) *fleet {
	f := &fleet{ctx: ctx, bin: bin, dir: dir, args: args}
	f.woken = sync.NewCond(&f.mu)
	context.AfterFunc(ctx, func() { f.woken.Broadcast() })
	for i := range n {
		f.instances = append(f.instances, &instance{f: f, name: string(rune('a' + i)), local: map[string]bool{}, workers: 2})
	}
	return f
}

// start starts a process.
func (x *instance) start() error {
	f := x.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if x.alive {
		return nil
	}
	state := filepath.Join(f.dir, x.name)
	log, err := os.OpenFile(state+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(f.bin, append([]string{"app", "-instance", x.name, "-state", state, "-workers", strconv.Itoa(x.workers)}, f.args...)...)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if x.stdin, err = cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	fmt.Fprintf(log, "--- pid %d %s\n", cmd.Process.Pid, time.Now().Format("15:04:05.000"))
	x.pid, x.started, x.alive, x.stopped, x.hold, x.ending = cmd.Process.Pid, time.Now(), true, false, false, false
	x.epochs, x.armed, x.at, x.wiped, x.has = 0, "", "", false, map[string]bool{}
	go x.watch(cmd, out)
	return nil
}

// watch hears a process out, and starts it again if it was killed.
func (x *instance) watch(cmd *exec.Cmd, out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		x.heard(strings.Fields(lines.Text()))
	}
	err := cmd.Wait()
	f := x.f
	f.mu.Lock()
	x.alive, x.stopped = false, false
	var exit *exec.ExitError
	killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	if !killed && (err != nil || !x.ending) && f.err == nil {
		f.err = fmt.Errorf("process %s ended by itself (%v); see %s", x.name, err, filepath.Join(f.dir, x.name+".log"))
	}
	again := killed && !x.hold && !x.ending && f.ctx.Err() == nil
	x.killed = killed
	f.mu.Unlock()
	if again {
		if err := x.start(); err != nil {
			f.fail(err)
		}
	}
	f.woken.Broadcast()
}

func (f *fleet) fail(err error) {
	f.mu.Lock()
	if f.err == nil {
		f.err = err
	}
	f.mu.Unlock()
	f.woken.Broadcast()
}

func (x *instance) heard(line []string) {
	if len(line) == 0 {
		return
	}
	f := x.f
	f.mu.Lock()
	defer f.woken.Broadcast()
	defer f.mu.Unlock()
	switch line[0] {
	case "armed":
		x.armed = line[1]
	case "at":
		x.at = line[1]
	case "epoch":
		if x.epochs == 0 && x.killed {
			f.restores = append(f.restores, time.Since(x.started))
		}
		x.epochs++
		f.epochs++
		f.total++
		f.stood()
	case "restored":
		if len(line) == 5 {
			x.restored(line[1], line[2] == "true", line[3], line[4])
		}
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

// tell sends a command to a process. One that has just died does not hear it.
func (x *instance) tell(format string, args ...any) {
	x.f.mu.Lock()
	in := x.stdin
	x.f.mu.Unlock()
	fmt.Fprintf(in, format+"\n", args...)
}

func (x *instance) signal(s syscall.Signal) {
	f := x.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if !x.alive {
		return
	}
	switch s {
	case syscall.SIGSTOP:
		x.stopped = true
	case syscall.SIGCONT:
		x.stopped = false
	case syscall.SIGTERM:
		x.ending = true
	}
	_ = syscall.Kill(x.pid, s)
}

// until waits for something that processes say or do. It returns false if that takes too long.
func (f *fleet) until(limit time.Duration, cond func() bool) bool {
	over := false
	t := time.AfterFunc(limit, func() {
		f.mu.Lock()
		over = true
		f.mu.Unlock()
		f.woken.Broadcast()
	})
	defer t.Stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	for !cond() {
		if f.err != nil || f.ctx.Err() != nil || over {
			return false
		}
		f.woken.Wait()
	}
	return true
}

// trouble is what has ended the run early, if anything has.
func (f *fleet) trouble() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		return f.ctx.Err()
	}
	return f.err
}

// noticed says that a process has ended because its state and the committed positions do not belong together, or are behind
// what was processed and deleted: a planted
// mistake that the application finds by itself is found.
func (f *fleet) noticed() bool {
	for _, x := range f.instances {
		b, err := os.ReadFile(filepath.Join(f.dir, x.name+".log"))
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

func (f *fleet) startAll() error {
	for _, x := range f.instances {
		if err := x.start(); err != nil {
			return err
		}
	}
	return nil
}

// stopAll ends all processes cleanly.
func (f *fleet) stopAll() error {
	for _, x := range f.instances {
		x.signal(syscall.SIGTERM)
	}
	if !f.until(20*time.Second, f.none) {
		if err := f.trouble(); err != nil {
			return err
		}
		return errors.New("a process did not end within 20 s of SIGTERM")
	}
	return nil
}

func (f *fleet) none() bool {
	for _, x := range f.instances {
		if x.alive {
			return false
		}
	}
	return true
}

// killAll ends what is left of a run.
func (f *fleet) killAll() {
	for _, x := range f.instances {
		f.mu.Lock()
		x.ending = true
		f.mu.Unlock()
		x.signal(syscall.SIGKILL)
	}
	gone := make(chan struct{})
	go func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for !f.none() {
			f.woken.Wait()
		}
		close(gone)
	}()
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
	}
}
