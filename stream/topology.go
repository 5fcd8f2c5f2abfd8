package stream

import (
	"path"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/plan"
	engine "github.com/millstream-go/millstream/internal/runtime"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream/codec"
)

// Topology is a graph of operators under construction. Its methods, and those of the streams that come from it, only
// note down what is to be done; mistakes are collected, and returned by Build, all of them. A topology is not safe for
// concurrent use, and may be built any number of times.
type Topology struct {
	graph *plan.Graph
	roots map[*plan.Node]func(*compiler, *task.Port)
	ends  []engine.End
	// globals are the tables that each instance has whole.
	globals []*global
	sides   map[*plan.Node][]side // side outputs, by operator
}

// New begins a topology. The name is for people, in descriptions and logs.
func New(name string) *Topology {
	return &Topology{graph: &plan.Graph{Name: name}, roots: map[*plan.Node]func(*compiler, *task.Port){}, sides: map[*plan.Node][]side{}}
}

// compiler builds the chain of one task, from the sinks up.
type compiler struct {
	task      *task.Task
	env       env
	semantics Semantics
	memo      map[*plan.Node]any // chains
	made      map[*plan.Node]any // operators that several inputs lead to
	ops       map[*plan.Node]int32
	readers   map[*plan.Node]int32 // of repartitions
	holds     map[*plan.Node]*task.Hold
	// direct are the repartitions that bring keys to where the producers of a keyed source do.
	direct map[*plan.Node]bool
	// globals are the operator.Global of the global tables.
	globals map[*global]any
	// gathered are what takes aggregates that come out of a repartition, by its node.
	gathered map[*plan.Node]any
}

// op returns the operator's number in the task.
func (b *compiler) op(n *plan.Node) int32 {
	i, ok := b.ops[n]
	if !ok {
		i = b.task.AddOperator(n.Name, n.Site)
		b.ops[n] = i
	}
	return i
}

// reader returns the number of the operator that reads a repartition. A task may write the same one: its operator for that
// is another.
func (b *compiler) reader(n *plan.Node) int32 {
	i := b.task.AddOperator(n.Name, n.Site)
	b.readers[n] = i
	return i
}

// hold returns what keeps the watermark behind an operator from overtaking its records.
func (b *compiler) hold(n *plan.Node) *task.Hold {
	if b.holds[n] == nil {
		b.holds[n] = task.NewHold()
	}
	return b.holds[n]
}

// clock returns the clock of an operator, or of several: the slowest of theirs.
func (b *compiler) clock(ns ...*plan.Node) *task.Clock { return b.time(false, ns...) }

// clockBehind returns the clock of what comes after an operator.
func (b *compiler) clockBehind(n *plan.Node) *task.Clock { return b.time(true, n) }

func (b *compiler) time(itself bool, ns ...*plan.Node) *task.Clock {
	var inputs []task.ClockInput
	var holds []*task.Hold
	stage := 0
	for _, n := range ns {
		for _, a := range plan.Asyncs(n, itself) {
			if h := b.hold(a); !slices.Contains(holds, h) {
				holds = append(holds, h)
			}
		}
		sources, delays, at := plan.Time(n, itself)
		stage = max(stage, at)
		for i, s := range sources {
			in := task.ClockInput{Name: b.env.Topic(s), Delay: delays[i]}
			if j := slices.IndexFunc(inputs, func(x task.ClockInput) bool { return x.Name == in.Name }); j >= 0 {
				inputs[j].Delay = max(inputs[j].Delay, in.Delay)
			} else {
				inputs = append(inputs, in)
			}
		}
	}
	return b.task.Clock(inputs, stage, holds...)
}

// node is an operator that hands on values; subs are the operators that take them.
type node[V any] struct {
	n    *plan.Node
	subs []func(*compiler) task.Fn[V]
}

func (s *node[V]) compile(b *compiler) task.Fn[V] {
	if f, ok := b.memo[s.n]; ok {
		return f.(task.Fn[V])
	}
	var next []task.Fn[V]
	for _, sub := range s.subs {
		next = append(next, sub(b))
	}
	f := operator.Fan(next)
	b.memo[s.n] = f
	return f
}

// keyedNode is the same after KeyBy.
type keyedNode[K comparable, V any] struct {
	n    *plan.Node
	subs []func(*compiler) task.KeyedFn[K, V]
	// gather makes what writes to it, a repartition, if n.Input.Gathers; see operator.Gather.
	gather func(*compiler, operator.Lane, *operator.Sender[K, V], *task.Clock) (task.KeyedFn[K, V], task.Gatherer)
}

func (s *keyedNode[K, V]) compile(b *compiler) task.KeyedFn[K, V] {
	if f, ok := b.memo[s.n]; ok {
		return f.(task.KeyedFn[K, V])
	}
	var next []task.KeyedFn[K, V]
	for _, sub := range s.subs {
		next = append(next, sub(b))
	}
	f := operator.FanKeyed(next)
	b.memo[s.n] = f
	return f
}

// From reads a source. Its records are decoded; those that cannot be go to the source's OnError policy. A source is
// read once in a topology, and its stream used as often as needed.
func (t *Topology) From[V any](src source.Source[V]) Stream[V] {
	n := t.source(src.Spec, typeName[V](), src.Value == nil, false)
	vals := src.Value
	if f := src.Spec.Files; f != nil {
		t.files(n, f)
		vals = operator.Older[V]{Codec: orJSON(src.Value), InFiles: orJSON(src.History)}
		if src.History == nil {
			t.graph.Errorf(n, "its files have no codec: name one, for example codec.JSON[%s]()", typeName[V]())
		}
	}
	s := Stream[V]{t, &node[V]{n: n}, vals}
	t.ends = append(t.ends, engine.End{Topic: src.Spec.Name, Source: true, Value: src.Value})
	t.roots[n] = func(b *compiler, p *task.Port) {
		operator.Source(p, reader(b, n), vals, nil, s.node.compile(b))
	}
	return s
}

// FromKeyed reads a source that is partitioned by its keys already, so that keyed operators need no repartition. If
// its number of partitions grows, keys change their place: the application then stops at an epoch with an error, unless
// source.OnGrowth says otherwise.
func (t *Topology) FromKeyed[K comparable, V any](src source.KeyedSource[K, V]) Keyed[K, V] {
	n := t.source(src.Spec, typeName[K]()+" → "+typeName[V](), src.Value == nil || src.Key == nil, true)
	s := Keyed[K, V]{t: t, node: &keyedNode[K, V]{n: n}, keys: orJSON(src.Key), vals: src.Value}
	if src.Spec.Growth == source.GrowthRekeys {
		s.exchange = &exchange[K, V]{}
	}
	t.ends = append(t.ends, engine.End{Topic: src.Spec.Name, Source: true, Key: src.Key, Value: src.Value})
	t.roots[n] = func(b *compiler, p *task.Port) {
		operator.KeyedSource(p, reader(b, n), src.Key, src.Value, nil, s.node.compile(b))
	}
	return s
}

func (t *Topology) source(spec source.Spec, typ string, noCodec, keyed bool) *plan.Node {
	n := t.graph.Add(&plan.Node{Kind: plan.Source, Name: spec.Name, Site: site(), Detail: spec.System, Type: typ, Keyed: keyed, Input: &plan.Input{Spec: spec}})
	if noCodec {
		t.graph.Errorf(n, "it has no codec: name one, for example codec.JSON[%s]()", typ)
	}
	if spec.MaxJump < 0 || spec.MaxJump%time.Millisecond != 0 || spec.Confirm < 0 || spec.Confirm > 64 || spec.MaxJump > 0 && spec.Confirm == 0 {
		t.graph.Errorf(n, "its MaxJump is %v, confirmed by %d others: use whole milliseconds, and 1 to 64 others", spec.MaxJump, spec.Confirm)
	}
	for _, p := range []onerror.Policy{spec.OnError, spec.NoKey, spec.OnTombstone} {
		if p.Topic != "" {
			n.Topics = append(n.Topics, p.Topic)
		}
	}
	for _, p := range []onerror.Policy{spec.NoKey, spec.OnTombstone} {
		t.once(n, &p, "OnNullKey and OnTombstone are about what a record is, which does not change")
	}
	if spec.OnError.Retry != (onerror.Retry{}) {
		t.again(n, spec.OnError.Retry)
	}
	return n
}

// files says what is wrong with a source's files.
func (t *Topology) files(n *plan.Node, f *source.FileSpec) {
	if f.FS == nil {
		t.graph.Errorf(n, "its files have no file system: give source.Files one, for example os.DirFS(\"/archive\")")
	}
	if _, err := path.Match(f.Pattern, "x"); f.Pattern == "" || err != nil {
		t.graph.Errorf(n, "the pattern %q for its files is none: use one of path.Match, for example *.jsonl", f.Pattern)
	}
	if f.Split == nil {
		t.graph.Errorf(n, "its files are split by a function that is nil: leave out SplitBy for lines")
	}
	if f.Again {
		t.graph.Errorf(n, "it has two sets of files: let one pattern match all of them, in the order of their names")
	}
	s := n.Input.Spec
	if s.System != "kafka" {
		t.graph.Errorf(n, "files come before a topic of Kafka, and it is on %s", s.System)
	}
	if s.Range.Start == source.Latest || s.Range.Start == source.Earliest && len(s.Range.Positions) == 0 {
		t.graph.Errorf(n, "where its topic goes on after the files is not exact: name the cut with source.StartAtPositions, for each partition, or source.StartAtTime")
	}
}

func reader(b *compiler, n *plan.Node) operator.Reader {
	s := n.Input.Spec
	et := n.Input.EventTime
	return operator.Reader{Op: b.op(n), OnTombstone: s.OnTombstone, OnNullKey: s.NoKey, MaxBytes: s.MaxBytes,
		EventTime: et != nil && et.Node.Kind == "event time"}
}

// Watermark says how watermarks are made from event times, for each partition of a source by itself.
type Watermark struct {
	// OutOfOrder is by how much a record's time may lie behind the largest one before it. The watermark is the largest
	// event time less this bound.
	OutOfOrder time.Duration
	// Idle is how long a partition may be silent, with nothing left to read, before it is left out of the merge, so
	// that it does not hold up the others. Zero: for ever.
	Idle time.Duration
	// Proven lets time go on in a partition that is silent, for event times that follow the wall clock: when no record
	// has come for so long, and the partition is proven to have been read to the end of all that was written to it by a
	// moment T, its watermark becomes T less OutOfOrder. A record that reaches the partition later than OutOfOrder after
	// its event time may then be late. Zero: time stands still. Not together with Idle.
	Proven time.Duration
	// Align keeps a partition from running ahead: while its watermark is by more than Align ahead of the smallest among all
	// partitions that this instance reads of sources with Align, it is not read, and what it holds stays with the broker in
	// place of the state of joins and windows. One whose task is being restored counts too. It needs Idle or Proven, or a source with an end: without them one silent
	// partition would stop all the others. In whole milliseconds; zero: it waits for nobody, and nobody for it.
	Align time.Duration
}

func (w Watermark) String() string {
	s := "out of order " + w.OutOfOrder.String()
	switch {
	case w.Proven > 0:
		s += ", goes on when proven silent for " + w.Proven.String()
	case w.Idle == 0:
		s += ", never idle"
	default:
		s += ", idle after " + w.Idle.String()
	}
	if w.Align > 0 {
		s += ", no more than " + w.Align.String() + " ahead of others"
	}
	return s
}

// watermark notes how the sources before an operator make their watermarks.
func (t *Topology) watermark(n *plan.Node, w Watermark) {
	if w.OutOfOrder < 0 || w.Idle < 0 {
		t.graph.Errorf(n, "a watermark's OutOfOrder and Idle must not be negative")
	}
	switch {
	case w.Proven < 0, w.Proven%time.Millisecond != 0:
		t.graph.Errorf(n, "a watermark's Proven is %v: use whole milliseconds", w.Proven)
	case w.Proven > 0 && w.Idle > 0:
		t.graph.Errorf(n, "a watermark has Idle and Proven: a silent partition is either left out, or goes on; use one")
	}
	if w.Align < 0 || w.Align%time.Millisecond != 0 {
		t.graph.Errorf(n, "a watermark's Align is %v: use whole milliseconds", w.Align)
	}
	et := &plan.EventTime{Bound: w.OutOfOrder.Milliseconds(), Idle: w.Idle.Milliseconds(), Proven: w.Proven.Milliseconds(), Align: w.Align.Milliseconds(), Node: n}
	n.EventTime = et
	if list := plan.Asyncs(n, false); len(list) > 0 {
		t.graph.Errorf(n, "it comes after %q, which keeps records: event time is set before that", list[0].Name)
	}
	for _, s := range plan.Sources(n) {
		switch {
		case s.Kind == plan.Repartition:
			t.graph.Errorf(n, "it comes after the repartition %q: event time is set once, before records are re-keyed", s.Name)
		case s.Input.EventTime != nil:
			t.graph.Errorf(n, "the event time of source %q is set at %s already", s.Name, s.Input.EventTime.Node.Site)
		case w.Align > 0 && w.Idle <= 0 && w.Proven <= 0 && s.Input.Spec.Range.End == source.Never:
			t.graph.Errorf(n, "a watermark has Align and neither Idle nor Proven: a silent partition of source %q would stop all others for ever", s.Name)
		default:
			s.Input.EventTime = et
		}
	}
}

// function notes that an operator has no function.
func (t *Topology) function(n *plan.Node, missing bool) {
	if missing {
		t.graph.Errorf(n, "its function is nil: give it one")
	}
}

func typeName[V any]() string { return reflect.TypeFor[V]().String() }

// site is where the caller of this package's code stands.
func site() string {
	pcs := make([]uintptr, 16)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, "github.com/millstream-go/millstream/stream.") || strings.HasSuffix(f.File, "_test.go") {
			return filepath.Base(filepath.Dir(f.File)) + "/" + filepath.Base(f.File) + ":" + strconv.Itoa(f.Line)
		}
		if !more {
			return "?"
		}
	}
}

// orJSON stands in for a codec whose absence was noted, so that the topology can be built to the end.
func orJSON[V any](c codec.Codec[V]) codec.Codec[V] {
	if c == nil {
		return codec.JSON[V]()
	}
	return c
}

// defaultCodec is the codec of state or of a repartition's values for which none was named.
func defaultCodec[V any](t *Topology, n *plan.Node, named []codec.Codec[V]) codec.Codec[V] {
	if len(named) > 0 && named[0] == nil {
		t.graph.Errorf(n, "its codec is nil: name one, for example codec.JSON[%s](), or leave it out", typeName[V]())
		return codec.JSON[V]()
	}
	if len(named) > 0 {
		return named[0]
	}
	c, err := codec.Default[V]()
	if err != nil {
		t.graph.Errorf(n, "%v", err)
		return codec.JSON[V]()
	}
	return c
}
