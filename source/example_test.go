package source_test

import (
	"fmt"
	"testing/fstest"
	"time"

	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream/codec"
)

// The least that a source needs is a topic and a codec.
func ExampleKafka() {
	lines := source.Kafka("lines", codec.String)
	fmt.Println(lines.Spec.System, lines.Spec.Name, lines.Value.Name())
	// Output: kafka lines string
}

// Options say what becomes of data that is not as it should be.
func ExampleKafka_options() {
	type Payment struct{ Card string }
	payments := source.Kafka("payments", codec.JSON[Payment](),
		source.StartAt(source.Latest),
		source.OnError(onerror.DeadLetter("payments.dead")),
		source.OnTombstone(onerror.Fail),
		source.MaxAhead(time.Minute),
		source.MaxBytes(64<<10))
	fmt.Println(payments.Spec.OnError.Topic, payments.Spec.MaxAhead)
	// Output: payments.dead 1m0s
}

// What a topic does not hold any more is read from an archive first: JSON lines, in the order of the files' names. The
// topic follows from the time at which the archive ends.
func ExampleFiles() {
	type Payment struct{ Card string }
	archive := fstest.MapFS{"2025/payments-01.jsonl": {Data: []byte(`{"Card":"c1"}`)}} // or os.DirFS("/archive")
	payments := source.Files(archive, "2025/payments-*.jsonl", codec.JSON[Payment]()).
		Then(source.Kafka("payments", codec.JSON[Payment](),
			source.StartAtTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))))
	fmt.Println(payments.Spec.Files.Pattern, "then", payments.Spec.Name)
	// Output: 2025/payments-*.jsonl then payments
}

// A topic whose producers partition it by key needs no repartition.
func ExampleKafkaKeyed() {
	clicks := source.KafkaKeyed("clicks-by-user", codec.String, codec.Int64)
	fmt.Println(clicks.Key.Name(), clicks.Value.Name())
	// Output: string int64
}

func ExampleParsePosition() {
	p, err := source.ParsePosition("1024")
	fmt.Println(p.Compare(source.At(1000)), err)
	_, err = source.ParsePosition("latest")
	fmt.Println(err)
	// Output:
	// 1 <nil>
	// position "latest" is not a number
}
