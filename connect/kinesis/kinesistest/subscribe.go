package kinesistest

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
)

const (
	subscriptionLife = 5 * time.Minute
	// subscribeAgain is how long after a call another one for the same consumer and shard is refused; after it, it takes over.
	subscribeAgain = 5 * time.Second
	// sign is how often an event comes where there are no records.
	sign = 5 * time.Second
)

// subscription is one connection over which a shard's records are pushed.
type subscription struct {
	begun    time.Time
	news     chan struct{} // the shard has more records, or is closed
	replaced chan struct{} // another call has taken over
	once     sync.Once
}

func (sub *subscription) replace() { sub.once.Do(func() { close(sub.replaced) }) }

// push tells those to whom a shard is pushed that there is something new. The server is locked.
func (s *Server) push(sh *shard) {
	for _, c := range s.consumers {
		if sub := c.subscribed[sh.id]; sub != nil {
			select {
			case sub.news <- struct{}{}:
			default:
			}
		}
	}
}

type subscribeInput struct {
	ConsumerARN, ShardId string
	StartingPosition     struct {
		Type, SequenceNumber string
		Timestamp            float64
	}
}

type subscribeEvent struct {
	Records                    []record
	ContinuationSequenceNumber *string `json:",omitempty"`
	MillisBehindLatest         int64
	ChildShards                []childShard `json:",omitempty"`
}

// begin checks a call and makes its subscription, at a place of the shard's records.
func (s *Server) begin(in *subscribeInput) (sh *shard, sub *subscription, next int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.consumer(consumerInput{ConsumerARN: in.ConsumerARN})
	if err != nil {
		return nil, nil, 0, err
	}
	if s.status(c) != "ACTIVE" {
		return nil, nil, 0, refuse(inUse, "consumer %s is %s", c.name, s.status(c))
	}
	if sh, err = c.stream.shard(in.ShardId); err != nil {
		return nil, nil, 0, err
	}
	p := in.StartingPosition
	if next, err = s.place(sh, position{p.Type, p.SequenceNumber, p.Timestamp}); err != nil {
		return nil, nil, 0, err
	}
	now := s.now()
	if last := c.subscribed[sh.id]; last != nil {
		if now.Sub(last.begun) < subscribeAgain {
			return nil, nil, 0, refuse(inUse, "shard %s was subscribed to less than %v ago", sh.id, subscribeAgain)
		}
		last.replace()
	}
	sub = &subscription{begun: now, news: make(chan struct{}, 1), replaced: make(chan struct{})}
	c.subscribed[sh.id] = sub
	return sh, sub, next, nil
}

// subscribeToShard pushes a shard's records until the shard ends, or five minutes are over, or another call takes over, or the
// client has gone, or the test wants it. The fault happens after as many events as it says.
func (s *Server) subscribeToShard(w http.ResponseWriter, r *http.Request, body []byte, f *Fault) {
	in := &subscribeInput{}
	if err := json.Unmarshal(body, in); err != nil {
		answer(w, nil, err)
		return
	}
	sh, sub, next, err := s.begin(in)
	if err != nil {
		answer(w, nil, err)
		return
	}
	if f != nil && f.Events == 0 { // has happened to the call
		if f.LoseAnswer {
			lose(w)
			return
		}
		f = nil
	}
	w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
	w.WriteHeader(http.StatusOK)
	out := &events{w: w}
	out.send("initial-response", struct{}{})
	end, idle := time.NewTimer(subscriptionLife), time.NewTimer(sign)
	defer end.Stop()
	defer idle.Stop()
	for sent := 0; out.err == nil; {
		if f != nil && sent == f.Events {
			if wait(r, f.Delay) != nil {
				return
			}
			if f.Error != "" {
				out.fail(f.Error, "as the test wants it")
				return
			}
			if f.LoseAnswer {
				lose(w)
				return
			}
			f = nil
		}
		event, after, over := s.event(sh, next)
		if len(event.Records) > 0 || over || sent == 0 {
			out.send("SubscribeToShardEvent", event)
			next = after
			sent++
			if over {
				return
			}
			continue
		}
		idle.Reset(sign)
		select {
		case <-sub.news:
		case <-idle.C:
			out.send("SubscribeToShardEvent", event)
			sent++
		case <-end.C:
			return
		case <-sub.replaced:
			out.fail(inUse, "another call has taken over")
			return
		case <-r.Context().Done():
			return
		}
	}
}

// event is what is to be sent from a place on; over: it is the shard's last one.
func (s *Server) event(sh *shard, next int) (e subscribeEvent, after int, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	recs, after := sh.from(next, maxGetRecords)
	e = subscribeEvent{Records: recs, MillisBehindLatest: sh.behind(after, s.now())}
	if sh.last != "" && len(recs) == 0 {
		e.ChildShards = sh.childShards()
		return e, after, true
	}
	at := sh.first
	if after > 0 {
		at = sh.records[after-1].SequenceNumber
	}
	e.ContinuationSequenceNumber = &at
	return e, after, false
}

// events writes messages of an event stream; after an error it writes no more.
type events struct {
	w   http.ResponseWriter
	err error
}

func (e *events) message(payload any, headers ...string) {
	if e.err != nil {
		return
	}
	m := eventstream.Message{}
	m.Headers.Set(":content-type", eventstream.StringValue("application/json"))
	for i := 0; i < len(headers); i += 2 {
		m.Headers.Set(headers[i], eventstream.StringValue(headers[i+1]))
	}
	if m.Payload, e.err = encode(payload); e.err == nil {
		e.err = eventstream.NewEncoder().Encode(e.w, m)
	}
	if e.err == nil {
		e.err = http.NewResponseController(e.w).Flush()
	}
}

func (e *events) send(kind string, payload any) {
	e.message(payload, ":message-type", "event", ":event-type", kind)
}

func (e *events) fail(code, message string) {
	e.message(map[string]string{"message": message, "__type": code}, ":message-type", "exception", ":exception-type", code)
}

// wait waits for a fault's delay.
func wait(r *http.Request, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-r.Context().Done():
		return r.Context().Err()
	}
}
