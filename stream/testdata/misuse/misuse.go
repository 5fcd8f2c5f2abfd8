// Package misuse does not compile. Each line with a "want" comment is a mistake that the compiler must find, with a
// message that contains the words.
package misuse

import (
	"context"
	"time"

	"github.com/millstream-go/millstream/connect/kafka"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/pattern"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

type txn struct{ Card string }

func (t txn) card() string { return t.Card }
func (t txn) limit() int64 { return 0 }

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

	// What is brought together by key has keys of one type, whatever the join.
	byCard, byLimit := txns.KeyBy(txn.card), txns.KeyBy(txn.limit)
	limits := byLimit.ToTable("limits")
	cards := byCard.ToTable("cards")
	versions := topo.VersionedTable(source.KafkaKeyed("rates", codec.Int64, codec.JSON[txn]()), "rates", time.Hour)
	global := topo.GlobalTable(source.KafkaKeyed("names", codec.Int64, codec.String))
	byCard.Join("join", byLimit, window.Join{}, func(a, b txn) txn { return a })                                                // want "Keyed\[int64, txn\]"
	byCard.JoinTable("table", limits, func(a, b txn) txn { return a })                                                          // want "Table\[int64, txn\]"
	byCard.JoinAsOf("asof", versions, func(a, b txn) txn { return a })                                                          // want "VersionedTable\[int64, txn\]"
	cards.Join(limits, func(a, b txn) txn { return a })                                                                         // want "Table\[int64, txn\]"
	txns.JoinGlobal(global, func(t txn) (string, bool) { return "", true }, func(t txn, n string) txn { return t })             // want "func\(txn\) \(int64, bool\)|func\(t txn\) \(string, bool\)"
	cards.JoinForeign("foreign", limits, func(string, txn) (string, bool) { return "", true }, func(a, b txn) txn { return a }) // want "int64"
	byCard.Cogroup(func(n *int, t txn) {}).With(byLimit, func(n *int, t txn) {})                                                // want "Keyed\[int64, txn\]"

	// A left join may find nothing.
	byCard.LeftJoin("left", byCard, window.Join{}, func(a, b txn) txn { return a }) // want "\*txn"

	// What keeps state needs keys; what makes a table of one does not lose them.
	txns.Deduplicate("ids", txn.card, time.Hour)                          // want "txns.Deduplicate undefined"
	txns.ToTable("cards")                                                 // want "txns.ToTable undefined"
	byCard.Deduplicate("ids", func(txn) []byte { return nil }, time.Hour) // want "\[\]byte does not satisfy comparable"

	// Functions of calls, patterns and processes have the types of their stream.
	txns.Async("calls", func(context.Context, string) (int, error) { return 0, nil }, stream.Async[txn, int]{}) // want "string"
	byCard.Process("process", func(p *stream.Process[string, int, txn], s string) {}, nil)                      // want "string"
	byCard.Process("process", func(p *stream.Process[int64, int, txn], t txn) {}, nil)                          // want "Process\[int64, int, txn\]"
	some.OneOrMore().UntilWhere(func(t txn, so pattern.Match[string]) bool { return true })                     // want "Match\[string\]"

	// A policy is asked for what to do, not only how often to try.
	txns.TryMap(func(t txn) (txn, error) { return t, nil }, onerror.Retry{Attempts: 3}) // want "onerror.Retry"
}
