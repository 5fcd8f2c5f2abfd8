package stream

import (
	"errors"
	"path/filepath"
	"slices"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/plan"
	engine "github.com/millstream-go/millstream/internal/runtime"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
)

// Build checks topology and configuration and returns an application that is ready to Run, or every mistake, joined.
// It talks to nobody yet.
func (t *Topology) Build(c Config) (*App, error) {
	c = c.withDefaults()
	errs := slices.Concat(t.graph.Check(c.AppID), t.checkGlobals(), c.check())
	connector, err := t.connector(c)
	if err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	prog := t.program(c.AppID, c.Semantics)
	if c.Exchange == InMemory {
		prog.InMemory()
	}
	return &App{app: engine.NewApp(engine.Config{AppID: c.AppID, InstanceID: c.InstanceID, StateDir: filepath.Join(c.StateDir, c.AppID), Connector: connector,
		Guarantee: c.Guarantee, CommitEvery: c.CommitInterval, SessionTimeout: c.SessionTimeout, Static: !c.Dynamic, Standbys: c.Standbys, Zone: c.Zone, Workers: c.Workers, KeyGroups: c.KeyGroups,
		Memory: c.MemoryBudget, Logger: c.Logger, Metrics: c.Metrics, MetricsEvery: c.MetricsInterval,
		Snapshots: c.Snapshots, Keys: c.StateKeys}, prog)}, nil
}

// connector finds the connectors of what the topology reads and of what it writes: one, or one that hands its results to
// another. A system without one is named once.
func (t *Topology) connector(c Config) (connect.Connector, error) {
	have := map[string]connect.Connector{}
	for _, k := range c.Connect {
		if k != nil {
			have[k.System()] = k
		}
	}
	var reads, writes connect.Connector
	var errs []error
	missing := map[string]bool{}
	find := func(n *plan.Node, system string, found *connect.Connector, what string) {
		switch k := have[system]; {
		case system == "":
		case missing[system]:
		case k == nil:
			missing[system] = true
			errs = append(errs, plan.Errorf(n, "it is on %s, and Config.Connect has no connector for that: add one%s", system, example(system)))
		case *found != nil && (*found).System() != system:
			errs = append(errs, plan.Errorf(n, "it is on %s, and other %s are on %s: an application reads from one system and writes to one, so make two of it", system, what, (*found).System()))
		default:
			*found = k
		}
	}
	for _, n := range t.graph.Nodes {
		if n.Kind == plan.Source {
			find(n, n.Input.Spec.System, &reads, "sources")
		}
	}
	for _, g := range t.globals {
		find(g.n, g.n.System, &reads, "sources")
	}
	var to *plan.Node
	for _, n := range t.graph.Nodes {
		if n.Kind != plan.Source && n.System != "" {
			if find(n, n.System, &writes, "sinks"); to == nil {
				to = n
			}
		}
	}
	if reads == nil || writes == nil || reads.System() == writes.System() {
		return reads, errors.Join(errs...)
	}
	feeder, feeds := reads.(connect.Feeder)
	outlet, takes := writes.(connect.Outlet)
	if !feeds || !takes {
		errs = append(errs, plan.Errorf(to, "it is on %s, and the topology reads from %s: nothing is built that does both in one commit, so make two applications of it", writes.System(), reads.System()))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return feeder.Into(outlet), nil
}

func example(system string) string {
	if system != "kafka" {
		return ""
	}
	return `, such as kafka.Cluster{Brokers: []string{"localhost:9092"}}`
}

// program compiles the topology as far as it goes without knowing partitions.
func (t *Topology) program(app string, s Semantics) *engine.Program {
	prog := &engine.Program{}
	sinks := map[string]bool{}
	for _, n := range t.graph.Nodes {
		for _, topic := range n.Topics {
			if !sinks[topic] {
				sinks[topic] = true
				prog.Sinks = append(prog.Sinks, topic)
			}
		}
	}
	globals := map[*global]any{}
	for _, g := range t.globals {
		made, o := g.make()
		prog.Globals, globals[g] = append(prog.Globals, made), o
	}
	direct := map[*plan.Node]bool{}
	for _, p := range t.graph.Subtopologies() {
		sub := &engine.Subtopology{Name: p.Name}
		for _, n := range p.Inputs {
			sub.Inputs = append(sub.Inputs, input(app, n))
		}
		for _, n := range p.Nodes {
			sub.Aligned = sub.Aligned || n.Aligned
		}
		for _, w := range p.Writes {
			var like []string
			for _, in := range sub.Inputs {
				like = append(like, in.Port.Name)
			}
			sub.Writes = append(sub.Writes, connect.InternalTopic{Name: w.Topic(app), Purpose: connect.Repartition, Partitions: w.Input.Partitions, Like: like})
		}
		sub.Changelog = p.Changelog(app)
		for _, x := range p.Stores {
			kind := x.Kind
			if kind == panes && s.kafka {
				kind = "window"
			}
			prog.Stores = append(prog.Stores, engine.Store{Name: x.Name, Kind: kind, Key: x.Key, Value: x.Value, Window: x.Window, Subtopology: p.Name, Evolves: x.Evolves})
		}
		sub.Compile = func(tk *task.Task, f engine.Facts) {
			b := &compiler{task: tk, env: env{app, f}, semantics: s, memo: map[*plan.Node]any{}, made: map[*plan.Node]any{}, ops: map[*plan.Node]int32{}, holds: map[*plan.Node]*task.Hold{}, direct: direct, globals: globals, readers: map[*plan.Node]int32{}, gathered: map[*plan.Node]any{}}
			for _, n := range p.Inputs {
				for _, port := range tk.Ports {
					if port.Spec.Name == n.Topic(app) {
						t.roots[n](b, port)
					}
				}
			}
			b.flows()
		}
		prog.Subtopologies = append(prog.Subtopologies, sub)
	}
	for i, p := range t.graph.Subtopologies() {
		if prog.Subtopologies[i].Aligned {
			align(prog, p, app, direct)
		}
	}
	return prog
}

// align gives the repartitions that a subtopology reads side by side equal numbers of partitions: those of a keyed
// source among them, to which keys are then brought as its producers do (direct); or what was asked for one of them; or
// as many as the largest source before any.
func align(prog *engine.Program, p *plan.Subtopology, app string, direct map[*plan.Node]bool) {
	repartitions := map[string]bool{}
	var keyed []string
	explicit := int32(0)
	for _, n := range p.Inputs {
		if n.Kind == plan.Repartition {
			repartitions[n.Topic(app)] = true
			explicit = max(explicit, n.Input.Partitions)
		} else {
			keyed = append(keyed, n.Topic(app))
		}
	}
	var writes []*connect.InternalTopic
	like := keyed
	for _, sub := range prog.Subtopologies {
		for i := range sub.Writes {
			if w := &sub.Writes[i]; repartitions[w.Name] {
				writes = append(writes, w)
				if len(keyed) == 0 {
					like = append(like, prog.Feeds(w.Like)...)
				}
			}
		}
	}
	for _, w := range writes {
		w.Like = like
		if w.Partitions == 0 && len(keyed) == 0 {
			w.Partitions = explicit
		}
	}
	for _, n := range p.Inputs {
		direct[n] = n.Kind == plan.Repartition && len(keyed) > 0
	}
}

func input(app string, n *plan.Node) engine.Input {
	in := engine.Input{Port: task.PortSpec{Name: n.Topic(app), Repartition: n.Kind == plan.Repartition, OnError: onError(n), MaxAhead: -1}, Opened: n.Site}
	if n.Kind == plan.Source {
		s := n.Input.Spec
		in.Start = connect.SourceSpec{Name: s.Name, Range: s.Range, Files: s.Files}
		if s.MaxAhead >= 0 { // -1, which means none, is less than a millisecond
			in.Port.MaxAhead = s.MaxAhead.Milliseconds()
		}
		in.Port.MaxJump, in.Port.Confirm = s.MaxJump.Milliseconds(), s.Confirm
		in.Port.First = n.Input.Table
		in.Port.Ends = s.Range.End != source.Never
	}
	if et := n.Input.EventTime; et != nil {
		in.Port.Bound, in.Port.IdleAfter, in.Port.Align = et.Bound, et.Idle, et.Align
		if in.Start.Range.End == source.Never { // else nothing follows: time need not go on
			in.Port.ProvenAfter = et.Proven
		}
	}
	return in
}

// onError is the policy for what a subtopology reads there. A record behind a repartition has the policy of the source
// that it comes from; where several do, the strictest: fail, then dead letter, then skip.
func onError(n *plan.Node) (p onerror.Policy) {
	if n.Kind == plan.Source {
		return n.Input.Spec.OnError
	}
	strict := []onerror.Action{onerror.ActionSkip, onerror.ActionDeadLetter, onerror.ActionFail}
	for _, in := range n.Inputs {
		for _, s := range plan.Sources(in) {
			if q := onError(s); slices.Index(strict, q.Action) > slices.Index(strict, p.Action) {
				p = q
			}
		}
	}
	return p
}

// env is what the compiler knows of topics.
type env struct {
	app string
	engine.Facts
}

func (e env) Topic(n *plan.Node) string { return n.Topic(e.app) }

func (e env) Destination(s sink.Spec) *operator.Destination {
	l := e.Limits(s.Name)
	return &operator.Destination{Name: s.Name, Partitions: e.Partitions(s.Name), MaxBytes: l.MaxBytes, MaxBehind: l.MaxBehind.Milliseconds(),
		MaxAhead: l.MaxAhead.Milliseconds(), RoundRobin: s.RoundRobin}
}
