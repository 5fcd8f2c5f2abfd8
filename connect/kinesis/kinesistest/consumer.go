package kinesistest

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxConsumers is how many consumers a stream may have.
const maxConsumers = 20

// consumer is a registered consumer of a stream, which shards are pushed to.
type consumer struct {
	stream     *stream
	name, arn  string
	registered time.Time
	subscribed map[string]*subscription // by shard, the last one
}

func (s *Server) status(c *consumer) string {
	if s.now().Sub(c.registered) < s.creating {
		return "CREATING"
	}
	return "ACTIVE"
}

type consumerDescription struct {
	ConsumerName, ConsumerARN, ConsumerStatus string
	ConsumerCreationTimestamp                 float64
	StreamARN                                 string `json:",omitempty"`
}

func (s *Server) describeConsumer(c *consumer) consumerDescription {
	return consumerDescription{c.name, c.arn, s.status(c), seconds(c.registered), c.stream.arn}
}

type consumerInput struct{ StreamARN, ConsumerName, ConsumerARN string }

// consumer finds a consumer by its ARN, or by its name and its stream's ARN.
func (s *Server) consumer(in consumerInput) (*consumer, error) {
	for _, c := range s.consumers {
		if c.arn == in.ConsumerARN || c.name == in.ConsumerName && c.stream.arn == in.StreamARN {
			return c, nil
		}
	}
	return nil, refuse(notFound, "there is no consumer %s%s", in.ConsumerName, in.ConsumerARN)
}

type registerOutput struct{ Consumer consumerDescription }

func registerStreamConsumer(s *Server, in *consumerInput, _ *Fault) (out registerOutput, err error) {
	st, err := s.find("", in.StreamARN)
	if err != nil {
		return out, err
	}
	if c, _ := s.consumer(*in); c != nil {
		return out, refuse(inUse, "consumer %s exists", in.ConsumerName)
	}
	n := 0
	for _, c := range s.consumers {
		if c.stream == st {
			n++
		}
	}
	if n >= maxConsumers {
		return out, refuse("LimitExceededException", "stream %s has %d consumers already", st.name, n)
	}
	c := &consumer{stream: st, name: in.ConsumerName, registered: s.now(), subscribed: map[string]*subscription{}}
	c.arn = fmt.Sprintf("%s/consumer/%s:%d", st.arn, c.name, c.registered.Unix())
	s.consumers = append(s.consumers, c)
	return registerOutput{s.describeConsumer(c)}, nil
}

type describeConsumerOutput struct{ ConsumerDescription consumerDescription }

func describeStreamConsumer(s *Server, in *consumerInput, _ *Fault) (out describeConsumerOutput, err error) {
	c, err := s.consumer(*in)
	if err != nil {
		return out, err
	}
	return describeConsumerOutput{s.describeConsumer(c)}, nil
}

func deregisterStreamConsumer(s *Server, in *consumerInput, _ *Fault) (nothing, error) {
	c, err := s.consumer(*in)
	if err != nil {
		return nothing{}, err
	}
	s.consumers = slices.DeleteFunc(s.consumers, func(o *consumer) bool { return o == c })
	for _, sub := range c.subscribed {
		sub.replace()
	}
	return nothing{}, nil
}

type listConsumersInput struct {
	StreamARN, NextToken string
	MaxResults           int
}

type listConsumersOutput struct {
	Consumers []consumerDescription
	NextToken string `json:",omitempty"`
}

func listStreamConsumers(s *Server, in *listConsumersInput, _ *Fault) (out listConsumersOutput, err error) {
	st, err := s.find("", in.StreamARN)
	if err != nil {
		return out, err
	}
	limit := 100
	if in.MaxResults > 0 {
		limit = in.MaxResults
	}
	out.Consumers = []consumerDescription{}
	for _, c := range s.consumers {
		if c.stream != st || c.name <= in.NextToken && in.NextToken != "" {
			continue
		}
		d := s.describeConsumer(c)
		d.StreamARN = ""
		out.Consumers = append(out.Consumers, d)
	}
	slices.SortFunc(out.Consumers, func(a, b consumerDescription) int { return strings.Compare(a.ConsumerName, b.ConsumerName) })
	if len(out.Consumers) > limit {
		out.Consumers, out.NextToken = out.Consumers[:limit], out.Consumers[limit-1].ConsumerName
	}
	return out, nil
}
