// Package millstream is the tour of a stream-processing engine that runs inside a Go service. There is nothing to
// import here; these are the packages, in the order of the data's flow:
//
//	source → decode → task → operators ⇄ state → encode → sink
//	                    └───────── epoch commit ─────────┘
//
// # Declare
//
// [github.com/millstream-go/millstream/source] describes what is read: a topic, its codec, and what becomes of records
// that cannot be processed ([github.com/millstream-go/millstream/onerror]). A description imports no client.
//
// [github.com/millstream-go/millstream/stream/codec] turns keys, values and state into bytes and back. A codec is the
// one place where a type is written down; everything after it is inferred.
//
// [github.com/millstream-go/millstream/stream] is the language of topologies. A Stream[V] has stateless operators. KeyBy
// makes a Keyed[K, V] of it, and only that has state: Count, Reduce, Fold, Process, and windows.
//
// [github.com/millstream-go/millstream/state] has the handles with which a Process keeps more than one value per key: lists,
// maps, values by window and by time, each with an age limit of its own.
//
// [github.com/millstream-go/millstream/window] has the kinds of windows. A record's time is the broker's or, with
// EventTime, from its value; watermarks follow from the times, partition by partition, and close windows.
//
// [github.com/millstream-go/millstream/sink] describes where results go.
//
//	topo := stream.New("wordcount")
//	topo.From(source.Kafka("lines", codec.String)).
//		FlatMap(strings.FieldsSeq).
//		KeyBy(strings.ToLower).
//		Count("counts").
//		Changes(func(word string, n int64) WordCount { return WordCount{word, n} }).
//		To(sink.Kafka("word-counts", codec.JSON[WordCount]()))
//
// # Run
//
// [github.com/millstream-go/millstream/connect/kafka] is the connector that turns descriptions into a running client. Build
// binds it, checks everything, and returns all mistakes at once; Run works until its context ends.
//
//	app, err := topo.Build(stream.Config{
//		AppID:   "wordcount",
//		Connect: []connect.Connector{kafka.Cluster{Brokers: brokers}},
//	})
//	if err != nil {
//		return err
//	}
//	return app.Run(ctx)
//
// The topology is cut where records change their key: there they go through a repartition topic to the instance that
// owns the new key. Each part becomes one task per partition. A task is stepped by one worker at a time, so user
// functions need no locks, as long as they touch only what they are given.
//
// Several instances with one AppID share the tasks. State lives in a local directory and in changelog topics, from which
// an instance that takes over a task restores it. [github.com/millstream-go/millstream/snapshot] keeps copies of the
// directory in a folder or a bucket.
//
// [github.com/millstream-go/millstream/metrics] is what an application tells of itself: lag, late records, state, commits;
// metrics/prom and metrics/otel hand it on.
//
// # Commit
//
// Ten times a second by default, an epoch ends: results, changes of state, and positions are committed in one
// transaction. After a crash everything goes on from the last commit. That is exactly-once, the default;
// [github.com/millstream-go/millstream/connect] has the other guarantees.
//
// # Test
//
// The test driver of stream/streamtest runs a topology record by record, without a broker and with a clock of its own.
// [github.com/millstream-go/millstream/connect/kafka/kafkatest] is a broker inside the process, for whole applications.
//
// For what is to come, [github.com/millstream-go/millstream/connect/kinesis/kinesistest] is a Kinesis with faults for tests, and
// [github.com/millstream-go/millstream/connect/kinesis/kpl] the format in which its producers pack records; there is no
// connector for Kinesis yet.
//
// The examples directory has programs, docs the rules in detail: semantics.md, guarantees.md, and architecture.md for
// what is inside.
package millstream
