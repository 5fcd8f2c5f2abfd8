package conformance

// Flink's interval join.

func flinkIntervalJoin(b *build, n Node) error { return errNotBuilt }
