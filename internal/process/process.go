// Package process runs an application in processes of their own, for tests that kill and freeze them: it starts each, hears
// what it says, and starts it again when it was killed.
package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Group is the processes of one run. Its lock guards all fields of its processes; every line that a process says, and
// every end of one, wakes those who wait in Until.
type Group struct {
	sync.Mutex
	ctx   context.Context
	bin   string
	dir   string
	args  []string
	woken *sync.Cond
	all   []*Process
	err   error // a process ended by itself
}

// New makes a group of processes that run "BIN app ARGS" until ctx ends. Each keeps its state in DIR/NAME, and its log in
// DIR/NAME.log.
func New(ctx context.Context, bin, dir string, args []string) *Group {
	g := &Group{ctx: ctx, bin: bin, dir: dir, args: args}
	g.woken = sync.NewCond(&g.Mutex)
	context.AfterFunc(ctx, g.woken.Broadcast)
	return g
}

// Process is one of them, over all its restarts. One that was killed starts again at once, unless Stays is set.
type Process struct {
	Name    string
	Pid     int
	Started time.Time
	Killed  bool // the last one was
	Alive   bool
	Frozen  bool
	Stays   bool // do not restart
	Ending  bool // it was asked to end

	g     *Group
	kind  Kind
	stdin io.WriteCloser
}

// Kind is what a process is to its test. Its methods are called with the group locked.
type Kind interface {
	// Args are those that only this process has.
	Args() []string
	// Begun is called with each start.
	Begun()
	// Heard is called with each line that the process writes to standard output.
	Heard(line string)
}

// Add adds a process that is not started yet.
func (g *Group) Add(name string, kind Kind) *Process {
	p := &Process{Name: name, g: g, kind: kind}
	g.all = append(g.all, p)
	return p
}

// Log is the file that a process's standard error goes to.
func (g *Group) Log(name string) string { return filepath.Join(g.dir, name+".log") }

// Start starts a process, unless it runs.
func (p *Process) Start() error {
	g := p.g
	g.Lock()
	defer g.Unlock()
	if p.Alive {
		return nil
	}
	log, err := os.OpenFile(g.Log(p.Name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	args := append([]string{"app", "-instance", p.Name, "-state", filepath.Join(g.dir, p.Name)}, p.kind.Args()...)
	cmd := exec.Command(g.bin, append(args, g.args...)...)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if p.stdin, err = cmd.StdinPipe(); err != nil {
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
	p.Pid, p.Started, p.Alive, p.Frozen, p.Stays, p.Ending = cmd.Process.Pid, time.Now(), true, false, false, false
	p.kind.Begun()
	go p.watch(cmd, out)
	return nil
}

// watch hears a process out, and starts it again if it was killed.
func (p *Process) watch(cmd *exec.Cmd, out io.Reader) {
	g := p.g
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		g.Lock()
		p.kind.Heard(lines.Text())
		g.Unlock()
		g.woken.Broadcast()
	}
	err := cmd.Wait()
	g.Lock()
	p.Alive, p.Frozen = false, false
	var exit *exec.ExitError
	p.Killed = errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	if !p.Killed && (err != nil || !p.Ending) && g.err == nil {
		g.err = fmt.Errorf("process %s ended by itself (%w); see %s", p.Name, err, g.Log(p.Name))
	}
	again := p.Killed && !p.Stays && !p.Ending && g.ctx.Err() == nil
	g.Unlock()
	if again {
		if err := p.Start(); err != nil {
			g.Fail(err)
		}
	}
	g.woken.Broadcast()
}

// Fail ends the run early.
func (g *Group) Fail(err error) {
	g.Lock()
	if g.err == nil {
		g.err = err
	}
	g.Unlock()
	g.woken.Broadcast()
}

// Trouble is what has ended the run early, if anything has.
func (g *Group) Trouble() error {
	g.Lock()
	defer g.Unlock()
	if g.err == nil {
		return g.ctx.Err()
	}
	return g.err
}

// Tell sends a command to a process. One that has just died does not hear it.
func (p *Process) Tell(format string, args ...any) {
	p.g.Lock()
	in := p.stdin
	p.g.Unlock()
	fmt.Fprintf(in, format+"\n", args...)
}

// Signal sends a signal to a process that runs.
func (p *Process) Signal(s syscall.Signal) {
	p.g.Lock()
	defer p.g.Unlock()
	if !p.Alive {
		return
	}
	switch s {
	case syscall.SIGSTOP:
		p.Frozen = true
	case syscall.SIGCONT:
		p.Frozen = false
	case syscall.SIGTERM:
		p.Ending = true
	}
	_ = syscall.Kill(p.Pid, s)
}

// Until waits for something that processes say or do; cond is called with the group locked. It returns false if that takes
// too long, or the run has ended.
func (g *Group) Until(limit time.Duration, cond func() bool) bool {
	over := false
	t := time.AfterFunc(limit, func() {
		g.Lock()
		over = true
		g.Unlock()
		g.woken.Broadcast()
	})
	defer t.Stop()
	g.Lock()
	defer g.Unlock()
	for !cond() {
		if g.err != nil || g.ctx.Err() != nil || over {
			return false
		}
		g.woken.Wait()
	}
	return true
}

// StartAll starts those that do not run.
func (g *Group) StartAll() error {
	for _, p := range g.all {
		if err := p.Start(); err != nil {
			return err
		}
	}
	return nil
}

// StopAll ends all processes cleanly.
func (g *Group) StopAll(limit time.Duration) error {
	for _, p := range g.all {
		p.Signal(syscall.SIGTERM)
	}
	if !g.Until(limit, g.None) {
		if err := g.Trouble(); err != nil {
			return err
		}
		return fmt.Errorf("a process did not end within %v of SIGTERM", limit)
	}
	return nil
}

// None says that no process runs. The group is locked.
func (g *Group) None() bool {
	for _, p := range g.all {
		if p.Alive {
			return false
		}
	}
	return true
}

// KillAll ends what is left of a run.
func (g *Group) KillAll() {
	for _, p := range g.all {
		g.Lock()
		p.Ending = true
		g.Unlock()
		p.Signal(syscall.SIGKILL)
	}
	gone := make(chan struct{})
	go func() {
		g.Lock()
		defer g.Unlock()
		for !g.None() {
			g.woken.Wait()
		}
		close(gone)
	}()
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
	}
}
