package kinesis_test

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/credentials"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kinesis"
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
