// Killtest kills and freezes the processes of an application while it works on a real Kafka, and compares what it has
// written with what it has read. scripts/killtest.sh builds it, starts the broker, and runs it; see there for the use.
//
// "killtest app" is one process of the application under test (topology.go), with the hooks by which it dies at a step
// of the commit protocol (app.go). "killtest run" is the driver: it sends the input (load.go), starts, kills and
// freezes three such processes (internal/process, instance.go, plan.go, driver.go), and hands all topics to the oracle (oracle.go,
// state.go). "killtest cluster" is another driver (churn.go), for scripts/clustertest.sh: instances come and go while the
// brokers of a cluster are restarted and killed.
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
	statusFault   = 1 // the oracle found something
	statusFailed  = 2 // there is no result
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "killtest: use scripts/killtest.sh")
		os.Exit(statusFailed)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	switch os.Args[1] {
	case "app":
		if err := runApp(ctx, os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "killtest app:", err)
			os.Exit(1)
		}
	case "run", "cluster":
		run := runTests
		if os.Args[1] == "cluster" {
			run = runCluster
		}
		status, err := run(ctx, os.Args[2:])
		if err != nil {
			fmt.Fprintln(os.Stderr, "killtest:", err)
		}
		os.Exit(status)
	default:
		fmt.Fprintf(os.Stderr, "killtest: no command %q\n", os.Args[1])
		os.Exit(statusFailed)
	}
}
