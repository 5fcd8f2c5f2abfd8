package conformance

// Joins of tables by a foreign key.

func kafkaForeignKeyJoin(b *build, n Node) error { return errNotBuilt }
