package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millstream-go/millstream/connect/kafka/kafkatest"
	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
)

// place is the Kinesis and the Kafka that the pipeline works on. Those of this process have what it needs, and forget it at the end.
type place struct {
	client  *api.Client
	visitor *api.Client // writes the visits
	http    *http.Client
	brokers []string
	fake    *kinesistest.Server // or nil
	broker  *kafkatest.Broker   // or nil
	visits  string
}

func open(o options, n names) (_ *place, err error) {
	p := &place{visits: n.visits, brokers: strings.Split(o.brokers, ",")}
	real := o.endpoint != "" || o.region != ""
	if o.brokers != "" && !real {
		return nil, errors.New("-brokers needs -endpoint or -region: the Kinesis of this process forgets its records at the end, and Kafka keeps how far they were read")
	}
	if real {
		key := func(name string) string { // servers for tests take any
			if o.endpoint == "" {
				return os.Getenv(name)
			}
			return cmp.Or(os.Getenv(name), "any")
		}
		p.http = &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
		c := api.Options{HTTPClient: p.http, Region: cmp.Or(o.region, "us-east-1"),
			Credentials: credentials.NewStaticCredentialsProvider(key("AWS_ACCESS_KEY_ID"), key("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SESSION_TOKEN"))}
		if o.endpoint != "" {
			c.BaseEndpoint = aws.String(o.endpoint)
		}
		p.client = api.New(c)
		// A connection that is used again may be closed by the other side just then, and the SDK sends the request once more
		// without knowing whether it was served: visits would be in the stream twice, and come through twice.
		once := http.DefaultTransport.(*http.Transport).Clone()
		once.DisableKeepAlives = true
		c.HTTPClient = &http.Client{Transport: once}
		p.visitor = api.New(c)
	} else {
		if p.fake, err = kinesistest.Start(kinesistest.Options{}); err != nil {
			return nil, err
		}
		p.fake.CreateStream(n.visits, 2)
		p.http = p.fake.HTTPClient()
		p.client = api.New(api.Options{Region: "local", BaseEndpoint: aws.String(p.fake.URL()), HTTPClient: p.http,
			Credentials: credentials.NewStaticCredentialsProvider("any", "any", "")})
		p.visitor = p.client
	}
	if o.brokers == "" {
		if p.broker, err = kafkatest.Start("", map[string]int32{n.views: 4, n.dead: 1}); err != nil {
			p.close()
			return nil, err
		}
		p.brokers = p.broker.Addrs()
	}
	return p, nil
}

func (p *place) close() {
	p.http.CloseIdleConnections()
	if p.broker != nil {
		p.broker.Close()
	}
	if p.fake != nil {
		p.fake.Close()
	}
}

// split splits a shard of the visits, where the Kinesis is our own.
func (p *place) split(v *view) error {
	if p.fake == nil {
		return nil
	}
	if err := p.fake.Split(p.visits, p.fake.Shards(p.visits)[0]); err != nil {
		return fmt.Errorf("split a shard of the visits: %w", err)
	}
	v.printf("          a shard of %s is split into two\n", p.visits)
	return nil
}
