package conformance

// Flink's windows.

func flinkWindow(b *build, n Node) error { return errNotBuilt }
