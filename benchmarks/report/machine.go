package main

import (
	"os"
	"runtime"
	"strings"
)

// Machine is where the figures come from.
type Machine struct {
	OS     string `json:"os"`
	Kernel string `json:"kernel"`
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
}

// thisMachine describes the machine as far as Linux tells; elsewhere the fields stay empty.
func thisMachine() Machine {
	return Machine{
		OS:     runtime.GOOS + "/" + runtime.GOARCH,
		Kernel: strings.TrimSpace(readFile("/proc/sys/kernel/osrelease")),
		CPU:    field("/proc/cpuinfo", "model name"),
		Cores:  runtime.NumCPU(),
		Memory: field("/proc/meminfo", "MemTotal"),
	}
}

func readFile(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return string(b)
}

// field returns the value of the first "name : value" line.
func field(file, name string) string {
	for line := range strings.Lines(readFile(file)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
