package conformance

// Tables that every task has.

func kafkaGlobalTable(b *build, n Node) error { return errNotBuilt }

func kafkaGlobalJoin(b *build, n Node) error { return errNotBuilt }
