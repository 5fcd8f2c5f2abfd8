package conformance

// Punctuators.

func kafkaPunctuate(b *build, n Node) error { return errNotBuilt }
