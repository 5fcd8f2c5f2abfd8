// Package misuse does not compile. Each line with a "want" comment is a mistake that the compiler must find, with a
// message that contains the words.
package misuse

import (
	"time"

	"github.com/millstream-go/millstream/connect/kafka"
	"github.com/millstream-go/millstream/pattern"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

type txn struct{ Card string }

func (t txn) card() string { return t.Card }

func misuse(topo *stream.Topology) {
	txns := topo.From(source.Kafka("txns", codec.JSON[txn]()))

	// Windows and state need keys.
	txns.Window(window.Tumbling{Size: time.Minute}) // want "txns.Window undefined"
	txns.Count("counts")                            // want "txns.Count undefined"
	txns.Fold("sums", func(*int, txn) {})           // want "txns.Fold undefined"

	// A window is aggregated before it is written.
	windowed := txns.KeyBy(txn.card).Window(window.Tumbling{Size: time.Minute})
	windowed.To(sink.Kafka("out", codec.JSON[txn]())) // want "windowed.To undefined"

	// What is written has the type of the sink.
	txns.To(sink.Kafka("out", codec.String))                                            // want "sink.Sink\[string\]"
	txns.KeyBy(txn.card).Count("n").Changes(func(k string, n int) txn { return txn{} }) // want "int64"

	// Functions have the types of their stream.
	txns.Filter(func(s string) bool { return true })           // want "func\(txn\) bool"
	txns.KeyBy(func(t txn) []byte { return nil })              // want "\[\]byte does not satisfy comparable"
	txns.Merge(topo.From(source.Kafka("lines", codec.String))) // want "stream.Stream\[string\]"

	// A keyed description is not a plain one, and a connector is no description.
	topo.From(source.KafkaKeyed("txns", codec.String, codec.JSON[txn]())) // want "source.KeyedSource\[string, txn\]"
	topo.From(kafka.Cluster{})                                            // want "kafka.Cluster"

	// A window is one of the kinds of package window.
	txns.KeyBy(txn.card).Window(time.Minute) // want "window.Window"

	// A pattern is looked for in keyed streams of its events.
	some := pattern.Begin("some", func(txn) bool { return true })
	line := pattern.Begin("line", func(string) bool { return true })
	txns.Detect("some", some, func(string, pattern.Match[txn]) int { return 0 })                    // want "txns.Detect undefined"
	txns.KeyBy(txn.card).Detect("line", line, func(string, pattern.Match[txn]) int { return 0 })    // want "Pattern\[string\]"
	txns.KeyBy(txn.card).Detect("some", some, func(string, pattern.Match[string]) int { return 0 }) // want "Match\[string\]"
	some.FollowedByGroup(line)                                                                      // want "Pattern\[string\]"
}
