// Package stream is how a topology is written, and how it runs.
//
// A [Topology] begins with a source and ends with sinks. Between them a [Stream] is mapped, filtered, split and merged;
// KeyBy makes it [Keyed], and only then are there state, windows and timers: Count, Reduce and Fold make a [Table] of
// one aggregate per key, Window and then Count, Reduce or Fold an [Aggregated] of one per key and window, and Process
// hands records and timers to functions of one's own. Types are inferred all along; the one type that is written down
// is that of the source's codec.
//
// Build checks a topology and its [Config], and returns an [App], or every mistake at once. Run runs it.
//
//	topo := stream.New("card-features")
//	spend := topo.From(source.Kafka("txns", codec.JSON[Txn]())).
//		EventTime(Txn.OccurredAt, stream.Watermark{OutOfOrder: 5 * time.Second, Idle: time.Minute}).
//		KeyBy(Txn.CardID).
//		Window(window.Hopping{Size: time.Hour, Advance: time.Minute, Grace: 30 * time.Second}).
//		Fold("spend-1h", (*Spend).Add)
//	spend.OnClose(asFeature).To(sink.Kafka("card-features", codec.JSON[Feature]()))
//	spend.Late(asLate).To(sink.Kafka("txns-late", codec.JSON[LateTxn]()))
//
// # What lasts
//
// Stores, and the topics that the application makes for itself, have names that the user wrote: the store's, the
// repartition's, the source topic's. Everything else may be changed between two versions of a program.
//
// # Functions of the user
//
// They run on the goroutine of the task that has the record, one at a time per task, and must not keep what they are
// handed beyond the call, except values. A record may be processed again after a failure; under exactly-once what the
// first time did to state and output is gone by then, but not what it did elsewhere.
package stream
