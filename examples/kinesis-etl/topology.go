package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// Visit is a page view as the web servers report it. It says who the visitor is.
type Visit struct {
	ID    string    `json:"id"`
	Email string    `json:"email"`
	IP    string    `json:"ip"`
	URL   string    `json:"url"`
	Agent string    `json:"agent"`
	At    time.Time `json:"at"`
}

// View is what becomes of it: nobody can be found by it, and it has what is asked of it later.
type View struct {
	ID      string    `json:"id"`
	Visitor string    `json:"visitor"` // the same for the same person, and no address
	Network string    `json:"network"`
	Page    string    `json:"page"`
	Source  string    `json:"source,omitempty"`
	Mobile  bool      `json:"mobile"`
	At      time.Time `json:"at"`
}

// What the topology asks of a view.
func (v View) path() string          { return v.Page }
func (v View) occurredAt() time.Time { return v.At }

// names are those of the application, the stream and the topics.
type names struct{ app, visits, views, dead string }

func namesOf(prefix string) names {
	return names{prefix + "app", prefix + "visits", prefix + "views", prefix + "dead"}
}

// topology is the whole application. What cannot be parsed or refined goes to the dead letters, with the reason: as it was
// read, personal data and all, so that topic is for few eyes and a short retention.
//
// It has no state. What is counted or joined by key is a second application that reads the topic of the views.
func topology(n names, secret []byte) *stream.Topology {
	topo := stream.New("kinesis-etl")
	topo.From(source.Kinesis(n.visits, codec.JSON[Visit](), source.OnError(onerror.DeadLetter(n.dead)))).
		TryMap(func(v Visit) (View, error) { return refine(v, secret) }).
		EventTime(View.occurredAt, stream.Watermark{}).
		KeyBy(View.path).
		To(sink.Kafka(n.views, codec.JSON[View]()))
	return topo
}

// refine drops what is personal and takes out of the rest what is asked of it later.
func refine(v Visit, secret []byte) (View, error) {
	if v.ID == "" || v.At.IsZero() {
		return View{}, errors.New("a visit needs an id and a time")
	}
	u, err := url.Parse(v.URL)
	if err != nil || u.Path == "" {
		return View{}, fmt.Errorf("%q is no address of a page", v.URL)
	}
	ip, err := netip.ParseAddr(v.IP)
	if err != nil {
		return View{}, errors.New("the visitor's address is none") // which one is not said: reasons go into logs
	}
	bits := 24
	if ip.Is6() {
		bits = 48
	}
	network, err := ip.Prefix(bits)
	if err != nil {
		return View{}, fmt.Errorf("network of the visitor: %w", err)
	}
	who := hmac.New(sha256.New, secret)
	who.Write([]byte(strings.ToLower(v.Email)))
	page := strings.TrimSuffix(u.Path, "/")
	if page == "" {
		page = "/"
	}
	return View{ID: v.ID, Visitor: hex.EncodeToString(who.Sum(nil)[:8]), Network: network.String(), Page: page, Source: u.Query().Get("utm_source"),
		Mobile: strings.Contains(v.Agent, "Mobile"), At: v.At}, nil
}
