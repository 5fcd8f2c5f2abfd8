package main

import (
	"context"
	"encoding/binary"
	"errors"
	"os"

	api "github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kinesis"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// millstream reads with everything that the engine does: aggregates, watermarks, prefetch bounded in bytes, an epoch every 100 ms
// whose positions are synced to disk. Only the service's limits of a shard are lifted, as the bare loop ignores them.
func millstream(ctx context.Context, c *api.Client, work func(int64)) (err error) {
	dir, err := os.MkdirTemp("", "kinesis-bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	topo := stream.New("bench")
	topo.From(source.Kinesis(streamName, numbers{})).Filter(func(n int64) bool {
		work(n)
		return false
	}).To(sink.Kinesis(streamName+"-out", codec.Int64))
	app, err := topo.Build(stream.Config{AppID: "bench", StateDir: dir, Exchange: stream.InMemory,
		Connect: []connect.Connector{kinesis.Streams{Client: c, CallsPerSecond: 1000, BytesPerSecond: 1 << 30}}})
	if err != nil {
		return err
	}
	return app.Run(ctx)
}

// numbers reads the number that a record begins with.
type numbers struct{}

func (numbers) Append(dst []byte, n int64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, uint64(n)), nil
}

func (numbers) Decode(b []byte) (int64, error) {
	if len(b) != recordSize {
		return 0, errors.New("the record is no event")
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}

func (numbers) Name() string { return "event" }
