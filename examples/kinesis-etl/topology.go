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
	"github.com/millstream-go/millstream/window"
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

// PageViews is how often a page was seen in a minute, and how often on phones.
type PageViews struct {
	Page   string    `json:"page"`
	Minute time.Time `json:"minute"`
	Views  int64     `json:"views"`
	Mobile int64     `json:"mobile"`
}

// What the topology asks of a view.
func (v View) path() string          { return v.Page }
func (v View) occurredAt() time.Time { return v.At }

// add counts a view.
func (p *PageViews) add(v View) {
	p.Views++
	if v.Mobile {
		p.Mobile++
	}
}

// names are those of the streams.
type names struct{ visits, views, pages, dead string }

// topology is the whole application. What cannot be parsed or refined goes to the dead letters, with the reason: as it was
// read, personal data and all, so that stream is for few eyes and a short retention.
func topology(n names, secret []byte) *stream.Topology {
	topo := stream.New("kinesis-etl")
	views := topo.From(source.Kinesis(n.visits, codec.JSON[Visit](), source.OnError(onerror.DeadLetter(n.dead)))).
		TryMap(func(v Visit) (View, error) { return refine(v, secret) }).
		EventTime(View.occurredAt, stream.Watermark{OutOfOrder: time.Second})

	byPage := views.KeyBy(View.path)
	byPage.To(sink.Kinesis(n.views, codec.JSON[View]()))
	byPage.Window(window.Tumbling{Size: time.Minute, Grace: time.Second}).
		Fold("page-views", (*PageViews).add).
		OnClose(func(page string, w window.Span, p PageViews) PageViews {
			p.Page, p.Minute = page, w.Start()
			return p
		}).To(sink.Kinesis(n.pages, codec.JSON[PageViews]()))
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
