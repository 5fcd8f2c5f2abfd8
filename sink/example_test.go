package sink_test

import (
	"fmt"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/stream/codec"
)

type feature struct {
	Card  string `json:"card"`
	Spent int64  `json:"spent"`
}

// Records carry the key of their stream, and go to the partition that a Java producer would choose for it.
func ExampleKafka() {
	features := sink.Kafka("card-features", codec.JSON[feature]())
	fmt.Println(features.Spec.System, features.Spec.Name, features.Value.Name())
	// Output: kafka card-features json
}

// The key can be made from the value instead, and the partition be chosen by hand.
func ExampleSink_Keyed() {
	features := sink.Kafka("card-features", codec.JSON[feature]()).
		Keyed(func(dst []byte, f feature) []byte { return append(dst, f.Card...) }).
		Partitioned(func(f feature, partitions int32) int32 { return int32(f.Spent) % partitions })
	f := feature{"card-7", 1250}
	fmt.Println(string(features.Key(nil, f)), features.Route(f, 4))
	// Output: card-7 2
}

// Without keys worth keeping, records can be spread evenly.
func ExampleSink_RoundRobin() {
	logs := sink.Kafka("logs", codec.String)
	fmt.Println(logs.RoundRobin().Spec.RoundRobin, logs.Spec.RoundRobin)
	// Output: true false
}
