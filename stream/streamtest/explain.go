package streamtest

import (
	"bytes"
	"encoding/binary"
	"encoding/json/v2"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

// How a result is explained. With the option Explain each record is an epoch of its own. So what a commit hands over to
// the store is what that one record has changed; by how much the ledger's counts have grown is what has become of it; and
// what it has written to a repartition topic comes from it. All of that is noted when the broker commits, and lost with the
// epoch if it does not. The engine does not know of it.

// Explain makes Driver.Explain possible: each record is processed and committed by itself, whatever Batch and CommitEvery
// say. It needs exactly-once, exchanges through topics, and the default semantics; ManualCommit and Overlap do not go
// with it.
func Explain() Option { return func(o *options) { o.explain = true } }

// Origin is a record of a source.
type Origin struct {
	Topic     string
	Partition int32
	Offset    int64
}

func (o Origin) String() string { return fmt.Sprintf("%s/%d@%d", o.Topic, o.Partition, o.Offset) }

// Reason is why a record did not contribute.
type Reason string

// The reasons.
const (
	Filtered     Reason = "filtered"
	Late         Reason = "late"
	Duplicate    Reason = "duplicate"
	Skipped      Reason = "skipped" // given up on and dropped, or wanted by no branch of a Split
	DeadLettered Reason = "dead-lettered"
)

// Rejection is a record that did not contribute.
type Rejection struct {
	Origin
	Reason   Reason
	Operator string        // its name, see Counts
	Site     string        // file and line of its declaration
	Behind   time.Duration // by how much its event time lay behind the watermark when it came, if it was late
}

func (r Rejection) String() string {
	s := fmt.Sprintf("%v %s by %s", r.Origin, r.Reason, r.Operator)
	if r.Reason == Late {
		s += fmt.Sprintf(", %v behind the watermark", r.Behind)
	}
	return s
}

// Explanation is why a result is what it is.
type Explanation struct {
	// Contributed are the records in the aggregate, in the order in which they were added. A record of which a FlatMap has made
	// several is there once for each that came through a repartition topic, and once if they did not. What was added before
	// an aggregate became null is not there.
	Contributed []Origin
	// Rejected are the records that did not get there: those of the key, and, since a record has no key before it is re-keyed,
	// all that were left out on the way before that. Late ones are those of the window.
	Rejected []Rejection
}

// explainer notes what has become of each record.
type explainer struct {
	under *outcome  // of the record that the open epoch has processed
	bad   *task.Bad // the record at hand was given up on
	lists []put     // changed lists of windows in the open epoch, of any task
	done  []*outcome
	last  map[string]string // the entries of aggregates as of the last commit
}

// outcome is what has become of one record, as a task read it.
type outcome struct {
	origin    Origin
	topic     string // that it was read from: the source, or a repartition topic
	key       []byte
	time      int64 // event time
	watermark int64 // when it came
	rejected  []Rejection
	gaveUp    *Rejection       // the record was given up on, and with it all that was made of it
	puts      []put            // entries that it has changed
	took      map[place]uint64 // operators that it has got to, and how many records of it

	task   *task.Task
	before []task.Counts
}

// put is a changed entry of an aggregate.
type put struct {
	key, value string // with the prefix that stands in the store; "" if it is deleted
}

// checkExplain says what does not go with Explain.
func (o *options) checkExplain() error {
	switch {
	case !o.explain:
		return nil
	case o.guarantee != connect.ExactlyOnce:
		return fmt.Errorf("Explain needs exactly-once: without it a record may count twice")
	case o.exchange == stream.InMemory:
		return fmt.Errorf("Explain needs exchanges through topics: it follows records by what stands there")
	case o.semantics != (stream.Semantics{}):
		return fmt.Errorf("Explain needs the default semantics")
	case o.manual, o.overlap:
		return fmt.Errorf("Explain commits each record by itself: it does not go with ManualCommit or Overlap")
	}
	o.batch, o.every = 1, 1
	return nil
}

// watch is called before a step of a task; what it returns, after it.
func (x *explainer) watch(s *slot) (after func()) {
	if x == nil {
		return func() {}
	}
	var read []uint64
	var before []task.Counts
	for _, f := range s.feeds {
		read = append(read, f.port.Read())
	}
	for i := range s.task.Operators {
		before = append(before, s.task.Operators[i].Counts)
	}
	watermark := s.task.Watermark()
	x.bad = nil
	return func() {
		for i, f := range s.feeds {
			if f.port.Read() > read[i] {
				x.note(s.task, f, before, watermark)
			}
		}
	}
}

// note notes the record that a task has read.
func (x *explainer) note(t *task.Task, f *feed, before []task.Counts, watermark int64) {
	e := f.part.entries[f.next-1] // a feed delivers the next one when the last is done
	o := &outcome{topic: f.port.Part.Stream, key: e.Key, time: t.Ctx().Time, watermark: watermark, task: t, before: before, took: map[place]uint64{}}
	o.origin = Origin{o.topic, f.port.Part.Index, e.offset}
	if f.port.Spec.Repartition {
		if e.origin == nil || len(e.Headers) == 0 || e.Headers[0].Key != task.TimeHeader { // it carries watermarks
			return
		}
		o.origin = *e.origin
		o.time = int64(binary.BigEndian.Uint64(e.Headers[0].Value))
	}
	if b := x.bad; b != nil {
		why := Skipped
		if b.Policy.Action == onerror.ActionDeadLetter {
			why = DeadLettered
		}
		r := o.rejection(why, b.Operator, b.Site)
		o.gaveUp = &r
	}
	x.under = o
}

// cut takes what the record's task hands over at the end of the epoch.
func (x *explainer) cut(d *task.Delta) {
	if d == nil {
		return
	}
	for _, e := range d.Entries {
		if e.Key[0] == task.KindSpans {
			x.lists = append(x.lists, put{string(e.Key), string(e.Value)})
		}
	}
	o := x.under
	if o == nil || d.Task != o.task {
		return
	}
	for _, e := range d.Entries {
		if e.Key[0] == task.KindValue || e.Key[0] == task.KindWindow {
			o.puts = append(o.puts, put{string(e.Key), string(e.Value)})
		}
	}
	for i := range o.task.Operators {
		op, was := &o.task.Operators[i], &o.before[i]
		o.took[place{op.Name, op.Site}] += op.Passed + op.Withdrawn - was.Passed - was.Withdrawn
		for _, c := range []struct {
			reason   Reason
			now, was uint64
		}{{Filtered, op.Filtered, was.Filtered}, {Late, op.Late, was.Late}, {Skipped, op.Skipped, was.Skipped}} {
			here := o.gaveUp != nil && o.gaveUp.Operator == op.Name && o.gaveUp.Site == op.Site
			if c.now > c.was && !(c.reason == Skipped && here) {
				o.rejected = append(o.rejected, o.rejection(c.reason, op.Name, op.Site))
			}
		}
	}
}

func (o *outcome) rejection(why Reason, operator, site string) Rejection {
	r := Rejection{Origin: o.origin, Reason: why, Operator: operator, Site: site}
	if why == Late {
		r.Behind = time.Duration(o.watermark-o.time) * time.Millisecond
	}
	return r
}

// finish is called when the epoch has been committed, or not.
func (x *explainer) finish(committed bool) {
	o, lists := x.under, x.lists
	x.under, x.lists = nil, nil
	if !committed || o == nil && len(lists) == 0 {
		return
	}
	if o == nil { // windows have closed without a record
		o = &outcome{}
	}
	o.puts = append(o.puts, lists...)
	// An update that was taken back has left the entry as it was. One that was not has another revision.
	o.puts = slices.DeleteFunc(o.puts, func(p put) bool {
		was := x.last[p.key]
		x.last[p.key] = p.value
		return was == p.value
	})
	o.task, o.before = nil, nil
	x.done = append(x.done, o)
}

// Explain says which records of the sources are in the aggregate of a key and window (of an aggregate without windows: the
// zero Span), and which were rejected, where and why. It knows what is committed, whatever crashed or was started again on
// the way. It needs the option Explain.
//
// It explains what Count, Reduce and Fold keep, without a window, or in windows, which are identified by their spans: of
// several of a key that have had the same one (count windows may) the last that closed, and a session as it was when it had that. It does
// not explain, and says so, aggregates behind operators with state of their own other than Deduplicate, or that keep records
// (joins, tables, other aggregates, Process, Async): there a result is made by more than the record at hand. Nor does it
// explain windows with triggers, count windows where several records are made of one, and overlapping windows that share
// panes because only OnClose is wanted: give them an OnUpdate. Operators of one name that are declared on the same line are
// one to it.
func (d *Driver) Explain[K comparable](store string, key K, w window.Span) Explanation {
	d.t.Helper()
	if d.explain == nil {
		d.t.Fatalf("streamtest: Explain needs the option streamtest.Explain()")
		return Explanation{}
	}
	path, err := d.path(store)
	if err != nil {
		d.t.Fatalf("streamtest: explain store %q: %v", store, err)
		return Explanation{}
	}
	if windowed := path.store.Window != ""; windowed != (w.To > w.From) {
		d.t.Fatalf("streamtest: explain store %q: name the span of a window if it has windows, and none if not: it has %q, and the span is %v", store, path.store.Window, w)
		return Explanation{}
	}
	keys, err := storeKeys[K](d, path.store.Key)
	var b []byte
	if err == nil {
		b, err = keys.Append(nil, key)
	}
	if err != nil {
		d.t.Fatalf("streamtest: explain store %q: key %v: %v", store, key, err)
		return Explanation{}
	}
	list, err := d.explain.explain(path, b, w)
	if err != nil {
		d.t.Fatalf("streamtest: explain store %q: %v", store, err)
	}
	return list
}

func (x *explainer) explain(path *path, key []byte, w window.Span) (list Explanation, err error) {
	id := binary.BigEndian.AppendUint32(nil, task.ID(path.store.Name))
	at, err := path.placeOf(w)
	if err != nil {
		return list, err
	}
	held := map[*outcome]bool{}
	if path.store.Kind == byKey {
		in, err := x.byKey(path, string(id), key, w)
		if err != nil {
			return list, err
		}
		for _, o := range in {
			held[o] = true
			list.Contributed = append(list.Contributed, o.origin)
		}
	}
	for _, o := range x.done {
		here := held[o]
		elsewhere := path.overlaps() && !here && o.took[place{path.store.Name, path.site}] > 0 && bytes.Equal(o.key, key)
		for _, p := range o.puts {
			if p.key[1:5] != string(id) || p.key[0] == task.KindSpans {
				continue
			}
			user := p.key[task.PrefixLen:]
			from := int64(0)
			if p.key[0] == task.KindWindow {
				from, user = task.Time([]byte(user)), user[8:]
			}
			switch {
			case user != string(key):
			case p.value == "" && p.key[0] == task.KindWindow: // it has closed
			case p.value == "": // it has become null, and begins anew
				list.Contributed = nil
			case from != at:
				elsewhere = true
			default:
				here = true
				list.Contributed = append(list.Contributed, o.origin)
			}
		}
		known := path.keyed[o.topic]
		in := w.To == w.From || w.From <= o.time && o.time < w.To
		before := len(list.Rejected)
		for _, r := range o.rejected {
			switch reason, on := path.on[place{r.Operator, r.Site}]; {
			case !on, known && !bytes.Equal(o.key, key):
			case r.Operator != path.store.Name:
				if r.Reason == Skipped && reason != "" {
					r.Reason = reason
				}
				list.Rejected = append(list.Rejected, r)
			case r.Reason == Late && in:
				list.Rejected = append(list.Rejected, r)
			}
		}
		if elsewhere && !here && in { // late in this one of its windows
			list.Rejected = append(list.Rejected, o.rejection(Late, path.store.Name, path.site))
		}
		// What is given up on anywhere comes nowhere, as far as it can be taken back: a window keeps it.
		if o.gaveUp != nil && path.reads[o.topic] && !here && (!known || in && bytes.Equal(o.key, key)) && len(list.Rejected) == before {
			list.Rejected = append(list.Rejected, *o.gaveUp)
		}
	}
	return list, nil
}

// byKey is the kind of store of windows that depend on the records of a key, see explain_keyed.go.
const byKey = "windows by key"

// path is what lies between the sources and an aggregate.
type path struct {
	store struct{ Name, Kind, Key, Window string }
	site  string
	on    map[place]Reason // the operators before it, and itself, and what Skipped means there
	reads map[string]bool  // topics that are read on the way
	keyed map[string]bool  // those of them whose records have its key
}

type place struct{ name, site string }

// plain are the operators that hand on, or not, the record at hand.
var plain = []string{"source", "repartition", "map", "map with id", "mapvalues", "trymap", "filter", "flatmap", "flatmapvalues", "peek", "keyby", "split", "merge", "event time", "watermark", "deduplicate"}

// path finds it in the topology's description.
func (d *Driver) path(store string) (*path, error) {
	type node struct {
		ID               int
		Kind, Name, Site string
		Detail, Reads    string
		Store            *struct{ Name, Kind, Key, Window string }
		To               []int
	}
	var described struct{ Subtopologies []struct{ Operators []node } }
	if err := json.Unmarshal([]byte(d.described), &described, json.MatchCaseInsensitiveNames(true)); err != nil {
		return nil, fmt.Errorf("read the topology's description: %w", err)
	}
	before := map[int][]*node{}
	var found *node
	for _, sub := range described.Subtopologies {
		for i := range sub.Operators {
			n := &sub.Operators[i]
			for _, to := range n.To {
				before[to] = append(before[to], n)
			}
			if n.Store != nil && n.Store.Name == store {
				found = n
			}
		}
	}
	if found == nil {
		return nil, fmt.Errorf("the topology has no store of this name")
	}
	p := &path{store: *found.Store, site: found.Site, on: map[place]Reason{{found.Name, found.Site}: ""}, reads: map[string]bool{}, keyed: map[string]bool{}}
	switch {
	case !slices.Contains([]string{"count", "reduce", "fold"}, found.Kind):
		return nil, fmt.Errorf("it is of the operator %s; only those of Count, Reduce and Fold are explained", found.Kind)
	case p.store.Kind == "panes":
		return nil, fmt.Errorf("its windows (%s) share panes, since only OnClose is wanted: give them an OnUpdate", p.store.Window)
	case p.store.Window != "" && found.Detail != p.store.Window:
		return nil, fmt.Errorf("windows with a trigger (%s) are not explained", found.Detail)
	case !slices.Contains([]string{"table", "window", byKey}, p.store.Kind):
		return nil, fmt.Errorf("windows of this kind (%s, %s) are not explained", p.store.Kind, found.Detail)
	}
	var walk func(n *node, keyed bool) error
	seen := map[[2]int]bool{}
	walk = func(n *node, keyed bool) error {
		for _, in := range before[n.ID] {
			if !slices.Contains(plain, in.Kind) {
				return fmt.Errorf("it lies behind %s %q (%s), whose results are made by more than the record at hand", in.Kind, in.Name, in.Site)
			}
			why := Reason("")
			if in.Kind == "deduplicate" {
				why = Duplicate
			}
			if at := (place{in.Name, in.Site}); p.on[at] == "" { // its repartition has the same
				p.on[at] = why
			}
			keyed := keyed
			if in.Reads != "" {
				topic := strings.ReplaceAll(in.Reads, "{AppID}", d.o.app)
				p.reads[topic] = true
				p.keyed[topic] = p.keyed[topic] || keyed
				keyed = false
			}
			at := [2]int{in.ID, 0}
			if keyed {
				at[1] = 1
			}
			if !seen[at] {
				seen[at] = true
				if err := walk(in, keyed); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return p, walk(found, true)
}

// storeKeys is the codec of a store's keys: the built-in one for the type, or that of a source.
func storeKeys[K comparable](d *Driver, name string) (codec.Codec[K], error) {
	if c, err := codec.DefaultKey[K](); err == nil && c.Name() == name {
		return c, nil
	}
	for _, e := range d.ends {
		if c, ok := e.Key.(codec.Codec[K]); ok && c.Name() == name {
			return c, nil
		}
	}
	return nil, fmt.Errorf("its keys have the codec %s, which is neither the built-in one for %T nor that of a source", name, *new(K))
}
