// Package measure reads what a benchmark's own process has cost so far.
package measure

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// Reading is the wall clock and the CPU time of the process, user and system. The CPU time is 0 where it cannot be had.
type Reading struct {
	Wall time.Time
	CPU  time.Duration
}

// Read reads both.
func Read() Reading {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return Reading{Wall: time.Now()}
	}
	return Reading{time.Now(), time.Duration(u.Utime.Nano() + u.Stime.Nano())}
}

// PeakMiB is the largest resident memory of the process so far. Linux keeps it for the program alone; getrusage would
// begin with that of the process that started it.
func PeakMiB() float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err == nil {
		for line := range bytes.Lines(status) {
			if rest, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
				if f := bytes.Fields(rest); len(f) > 0 {
					if kib, err := strconv.ParseFloat(string(f[0]), 64); err == nil {
						return kib / 1024
					}
				}
			}
		}
	}
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	unit := 1024.0 // kilobytes
	if runtime.GOOS == "darwin" {
		unit = 1 << 20 // bytes
	}
	return float64(u.Maxrss) / unit
}
