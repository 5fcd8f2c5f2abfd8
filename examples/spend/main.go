package main

import (
	"context"
	"log"
	"os/signal"
	"syscall"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kafka"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

type Order struct {
	Customer string    `json:"customer"`
	Amount   float64   `json:"amount"`
	At       time.Time `json:"at"`
}

type Spend struct {
	Customer string    `json:"customer"`
	Minute   time.Time `json:"minute"`
	Amount   float64   `json:"amount"`
}

func main() {
	topo := stream.New("spend-per-minute")
	topo.From(source.Kafka("orders", codec.JSON[Order]())).
		EventTime(func(o Order) time.Time { return o.At }, stream.Watermark{OutOfOrder: 5 * time.Second, Idle: time.Minute}).
		KeyBy(func(o Order) string { return o.Customer }).
		Window(window.Tumbling{Size: time.Minute, Grace: 10 * time.Second}).
		Fold("spend-1m", func(sum *float64, o Order) { *sum += o.Amount }).
		OnClose(func(c string, w window.Span, sum float64) Spend { return Spend{c, w.Start(), sum} }).
		To(sink.Kafka("spend", codec.JSON[Spend]()))

	app, err := topo.Build(stream.Config{
		AppID:   "spend-per-minute",
		Connect: []connect.Connector{kafka.Cluster{Brokers: []string{"localhost:9092"}}},
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := app.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
