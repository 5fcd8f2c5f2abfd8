package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// fleet is the processes of one run. All fields of its instances are guarded by mu; every line that a process says, and
// every end of one, wakes those who wait in until.
type fleet struct {
	ctx  context.Context
	bin  string
	dir  string
	args []string // of "kinesistest app"

	mu        sync.Mutex
	woken     *sync.Cond
	instances []*instance
	epochs    int   // of all, since the last kill
	err       error // a process ended by itself
}

// instance is one of them, over all its restarts. One that was killed starts again at once.
type instance struct {
	f          *fleet
	name, role string
	pid        int
	stdin      io.WriteCloser
	alive      bool
	frozen     bool
	ending     bool // it was asked to end
	epochs     int  // since the start
	at         string
}

func newFleet(ctx context.Context, bin, dir string, args []string, roles ...string) *fleet {
	f := &fleet{ctx: ctx, bin: bin, dir: dir, args: args}
	f.woken = sync.NewCond(&f.mu)
	context.AfterFunc(ctx, f.woken.Broadcast)
	for i, role := range roles {
		f.instances = append(f.instances, &instance{f: f, name: fmt.Sprintf("%s-%c", role, 'a'+i), role: role})
	}
	return f
}

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
	cmd := exec.Command(f.bin, append([]string{"app", "-instance", x.name, "-state", state, "-role", x.role}, f.args...)...)
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
	x.pid, x.alive, x.frozen, x.ending, x.epochs, x.at = cmd.Process.Pid, true, false, false, 0, ""
	go x.watch(cmd, out)
	return nil
}

// watch hears a process out, and starts it again if it was killed.
func (x *instance) watch(cmd *exec.Cmd, out io.Reader) {
	f := x.f
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		word, place, _ := strings.Cut(lines.Text(), " ")
		f.mu.Lock()
		switch word {
		case "at":
			x.at = place
		case "epoch":
			x.epochs++
			f.epochs++
		}
		f.mu.Unlock()
		f.woken.Broadcast()
	}
	err := cmd.Wait()
	f.mu.Lock()
	x.alive, x.frozen = false, false
	var exit *exec.ExitError
	killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	if !killed && (err != nil || !x.ending) && f.err == nil {
		f.err = fmt.Errorf("process %s ended by itself (%w); see %s", x.name, err, filepath.Join(f.dir, x.name+".log"))
	}
	again := killed && !x.ending && f.ctx.Err() == nil
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

// trouble is what has ended the run early, if anything has.
func (f *fleet) trouble() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		return f.ctx.Err()
	}
	return f.err
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
		x.frozen = true
	case syscall.SIGCONT:
		x.frozen = false
	case syscall.SIGTERM:
		x.ending = true
	}
	_ = syscall.Kill(x.pid, s)
}

// counts says that the end of this process would count: it has committed since its start, and somebody since the last kill. The
// fleet is locked.
func (x *instance) counts() bool {
	return x.alive && !x.frozen && !x.ending && x.epochs > 0 && x.f.epochs > 0
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
	if !f.until(30*time.Second, f.none) {
		if err := f.trouble(); err != nil {
			return err
		}
		return errors.New("a process did not end within 30 s of SIGTERM")
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
