package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
)

// place is the Kinesis that the application works on. The one of this process has the streams, and forgets them at the end.
type place struct {
	client   *api.Client
	http     *http.Client
	fake     *kinesistest.Server // or nil
	payments string
}

func open(o options, n names) (_ *place, err error) {
	p := &place{payments: n.payments}
	if o.endpoint != "" || o.region != "" {
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
		return p, nil
	}
	if o.state != "" {
		return nil, errors.New("-state needs -endpoint or -region: the Kinesis of this process forgets its records at the end, and the state has how far they were read")
	}
	if p.fake, err = kinesistest.Start(kinesistest.Options{}); err != nil {
		return nil, err
	}
	p.fake.CreateStream(n.payments, 2)
	p.fake.CreateStream(n.features, 2)
	p.http = p.fake.HTTPClient()
	p.client = api.New(api.Options{Region: "local", BaseEndpoint: aws.String(p.fake.URL()), HTTPClient: p.http,
		Credentials: credentials.NewStaticCredentialsProvider("any", "any", "")})
	return p, nil
}

func (p *place) close() {
	p.http.CloseIdleConnections()
	if p.fake != nil {
		p.fake.Close()
	}
}

// split splits a shard of the payments, where the Kinesis is our own.
func (p *place) split(v *view) error {
	if p.fake == nil {
		return nil
	}
	if err := p.fake.Split(p.payments, p.fake.Shards(p.payments)[0]); err != nil {
		return fmt.Errorf("split a shard of the payments: %w", err)
	}
	v.printf("          a shard of %s is split into two\n", p.payments)
	return nil
}
