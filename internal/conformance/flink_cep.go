package conformance

// Flink's patterns.

func flinkPattern(b *build, n Node) error { return errNotBuilt }
