package codec

// Nullable is a type with a null of its own, which is its zero value. A record without a key, or with a null value, is
// then read as that, and written from it, where otherwise it is a bad record; a table has no row where a value is null.
// It is how data with nulls is processed; see also stream.KafkaStreamsSemantics.
type Nullable interface {
	// IsNull says that the value is the null. It must be true for the zero value.
	IsNull() bool
}
