package conformance

// Cogroup: several streams, one aggregate.

func kafkaCogroup(b *build, n Node) error { return errNotBuilt }
