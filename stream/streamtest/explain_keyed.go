package streamtest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/window"
)

// The windows of a key that depend on its records (sessions, sliding and count windows) are one entry. How their list has
// changed with each record says which of them the record has come into, and which have become one. What closes windows
// without a record is noted for that, too.

// bounds are the ends of a window.
type bounds struct{ from, to int64 }

// content is what a window of a key holds.
type content struct {
	revision uint64
	in       []*outcome
}

// byKey follows the windows of a key, and returns what the one with these bounds has held last.
func (x *explainer) byKey(p *path, id string, key []byte, w window.Span) (in []*outcome, err error) {
	kind, _, _ := strings.Cut(p.store.Window, " ")
	known, closed := map[bounds][]*outcome{}, map[bounds][]*outcome{}
	open := map[bounds]content{}
	var taken []*outcome // by the windows of the key
	for _, o := range x.done {
		var list []operator.SpanHead
		changed := false
		for _, put := range o.puts {
			if put.key[0] == task.KindSpans && put.key[1:5] == id && put.key[task.PrefixLen:] == string(key) {
				changed = true
				if put.value != "" {
					if list, err = operator.SpanHeads([]byte(put.value)); err != nil {
						return nil, err
					}
				}
			}
		}
		mine := o.took[place{p.store.Name, p.site}] > 0 && bytes.Equal(o.key, key)
		if !changed && !(mine && kind == "count") { // a count window of one record has never been stored
			continue
		}
		now := map[bounds]content{}
		switch kind {
		case "session":
			sessions(now, open, list, o, mine)
		case "count":
			if n := o.took[place{p.store.Name, p.site}]; n > 1 {
				return nil, fmt.Errorf("%d records were made of %v, which may be in several windows", n, o.origin)
			}
			switch {
			case mine:
				at, in := counted(open, list, o)
				if len(list) > 0 {
					now[at] = content{list[0].Revision, in}
				} else {
					closed[at] = in
				}
			case len(list) == 0: // nothing has come for its TTL
				for at, c := range open {
					closed[at] = c.in
				}
			}
		default:
			if mine {
				taken = append(taken, o)
			}
			for _, s := range list {
				at := bounds{s.From, s.To}
				c, had := open[at]
				switch in := func(r *outcome) bool { return s.From <= r.time && r.time < s.To }; {
				case !had: // it begins with what came before it
					for _, r := range taken {
						if in(r) {
							c.in = append(c.in, r)
						}
					}
				case mine && !s.Closed && in(o):
					c.in = append(slices.Clip(c.in), o)
				}
				now[at] = c
			}
		}
		open = now
		for at, c := range now {
			known[at] = c.in
		}
	}
	at := bounds{w.From, w.To}
	if in := closed[at]; in != nil { // rather than a later one that has had these bounds for a while
		return in, nil
	}
	return known[at], nil
}

// sessions fills now: a session has what those that it covers had, the earliest first, and the record that has changed it.
func sessions(now, open map[bounds]content, list []operator.SpanHead, o *outcome, mine bool) {
	for _, s := range list {
		at := bounds{s.From, s.To}
		if c := open[at]; c.revision == s.Revision {
			now[at] = c
			continue
		}
		var merged []bounds
		for b := range open {
			if s.From <= b.from && b.to <= s.To {
				merged = append(merged, b)
			}
		}
		slices.SortFunc(merged, func(a, b bounds) int { return int(a.from - b.from) })
		c := content{revision: s.Revision}
		for _, b := range merged {
			c.in = append(c.in, open[b].in...)
		}
		if mine {
			c.in = append(c.in, o)
		}
		now[at] = c
	}
}

// counted is the count window that a record has come into: one more record than before, or the first of a new window.
func counted(open map[bounds]content, list []operator.SpanHead, o *outcome) (at bounds, in []*outcome) {
	at = bounds{o.time, o.time + 1}
	if len(list) == 0 || list[0].Revision > 1 { // it goes on, or has closed with the record
		for b, c := range open {
			at = bounds{min(at.from, b.from), max(at.to, b.to)}
			in = slices.Clip(c.in)
		}
	}
	return at, append(in, o)
}

// overlaps says that a record may be in several windows of its key, some of which have closed when it comes.
func (p *path) overlaps() bool {
	kind, _, _ := strings.Cut(p.store.Window, " ")
	return kind == "sliding" || kind == "trailing"
}

// placeOf is what identifies a window among those of a time: where it starts; of a cumulating one, where its last step does.
func (p *path) placeOf(w window.Span) (int64, error) {
	kind, sizes, _ := strings.Cut(p.store.Window, " ")
	if kind != "cumulate" {
		return w.From, nil
	}
	_, step, _ := strings.Cut(sizes, "/")
	step, _, _ = strings.Cut(step, "+")
	d, err := time.ParseDuration(step)
	if err != nil {
		return 0, fmt.Errorf("read the step of its windows: %w", err)
	}
	return w.To - d.Milliseconds(), nil
}
