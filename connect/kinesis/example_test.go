package kinesis_test

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kafka"
	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/connect/kinesis/lease"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// An application counts what it reads from one stream, by the text of the records, and writes each count to another. The client is
// the caller's; programs that run on AWS make it with kinesis.NewFromConfig.
func ExampleStreams() {
	client := api.New(api.Options{Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "")})

	topo := stream.New("words")
	topo.From(source.Kinesis("words", codec.String)).
		KeyBy(func(word string) string { return word }).
		Count("counts").
		ToStream().To(sink.Kinesis("counts", codec.Int64))

	app, err := topo.Build(stream.Config{
		AppID:    "words",
		Connect:  []connect.Connector{kinesis.Streams{Client: client}},
		Exchange: stream.InMemory, // records go to the tasks of their keys within the process
	})
	if err != nil {
		panic(err)
	}
	_ = func(ctx context.Context) error { return app.Run(ctx) } // until ctx ends
	// Output:
}

// State on several instances. Each instance runs two applications: one brings the records of a stream to a topic, by their keys, the other
// reads the topic, with state. Instances share the stream's shards by leases, and the topic's partitions as those of any topic; every record
// is counted once, and every result written once, whichever of them die.
func ExampleStreams_state() {
	client := api.New(api.Options{Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "")})
	table := dynamodb.New(dynamodb.Options{Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "")})
	cluster := kafka.Cluster{Brokers: []string{"localhost:9092"}}

	byKey := stream.New("words by text")
	byKey.From(source.Kinesis("words", codec.String)).
		KeyBy(func(word string) string { return word }).
		To(sink.Kafka("words-by-text", codec.String))
	first, err := byKey.Build(stream.Config{
		AppID:   "words-by-text",
		Connect: []connect.Connector{kinesis.Streams{Client: client, Leases: lease.Table{Client: table}}, cluster},
	})
	if err != nil {
		panic(err)
	}

	counts := stream.New("counts")
	counts.FromKeyed(source.KafkaKeyed("words-by-text", codec.String, codec.String)).
		Count("counts").
		ToStream().To(sink.Kafka("counts", codec.Int64))
	second, err := counts.Build(stream.Config{AppID: "counts", Connect: []connect.Connector{cluster}})
	if err != nil {
		panic(err)
	}

	// Both run until ctx or one of them ends.
	_ = func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		ended := make(chan error)
		for _, app := range []*stream.App{first, second} {
			go func() { ended <- app.Run(ctx) }()
		}
		err := <-ended
		cancel()
		return errors.Join(err, <-ended)
	}
	// Output:
}
