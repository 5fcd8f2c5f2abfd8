// Kinesistest kills and freezes the processes of an application that shares the shards of a Kinesis stream, while shards are split
// and merged, and compares what it has written with what it has read. scripts/kinesistest.sh builds it and runs it; see
// there for the use, and docs/testing.md for what it shows.
//
// "kinesistest app" is one process of the application under test (topology.go, app.go), "kinesistest fake" a Kinesis and a
// DynamoDB in a process of their own, in which faults happen at random (fake.go). "kinesistest run" is the driver: it sends
// the input (load.go), starts, kills and freezes processes (internal/process, fleet.go, plan.go, driver.go), and hands what all streams hold to the
// checker (client.go, check.go).
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// The exit statuses.
const (
	statusCorrect = 0
	statusFault   = 1 // the checker found something
	statusFailed  = 2 // there is no result
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "kinesistest: use scripts/kinesistest.sh")
		os.Exit(statusFailed)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	var err error
	status := statusFailed
	switch os.Args[1] {
	case "app":
		err = runApp(ctx, os.Args[2:])
	case "fake":
		err = runFake(ctx, os.Args[2:])
	case "run":
		status, err = runTests(ctx, os.Args[2:])
	default:
		err = fmt.Errorf("there is no command %q", os.Args[1])
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "kinesistest %s: %v\n", os.Args[1], err)
		os.Exit(statusFailed)
	}
	if os.Args[1] == "run" {
		os.Exit(status)
	}
}
