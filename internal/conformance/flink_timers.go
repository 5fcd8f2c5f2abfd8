package conformance

// Flink's timers.

func flinkTimers(b *build, n Node) error { return errNotBuilt }
