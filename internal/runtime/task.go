package runtime

import (
	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/source"
)

// This file is what a program needs of topics and tasks, whoever runs it: the engine, or the test driver.

// Topics fills in which topics the program reads, writes and keeps for itself.
func (p *Program) Topics(app connect.App) connect.App {
	app.Sinks = p.Sinks
	for _, sub := range p.Subtopologies {
		var group []string
		changelog := connect.InternalTopic{Name: sub.Changelog, Purpose: connect.Changelog}
		for _, in := range sub.Inputs {
			if in.Port.Memory {
				w := p.writer(in.Port.Name)
				changelog.Partitions = max(changelog.Partitions, w.Partitions)
				changelog.Like = append(changelog.Like, p.Feeds(w.Like)...)
				continue
			}
			group = append(group, in.Port.Name)
			if !in.Port.Repartition {
				app.Sources = append(app.Sources, in.Start)
			}
		}
		if len(group) > 0 {
			app.Groups = append(app.Groups, group)
			changelog.Like = append(changelog.Like, group...)
		}
		if !p.Memory {
			app.Internal = append(app.Internal, sub.Writes...)
		}
		if sub.Changelog != "" {
			app.Internal = append(app.Internal, changelog)
		}
	}
	app.Global = p.globalTopics()
	app.OwnAll = p.Memory
	return app
}

// InMemory makes the repartitions exchanges within the process.
func (p *Program) InMemory() {
	p.Memory = true
	for _, sub := range p.Subtopologies {
		for i := range sub.Inputs {
			sub.Inputs[i].Port.Memory = sub.Inputs[i].Port.Repartition
		}
	}
}

// writer is what is written to a repartition.
func (p *Program) writer(name string) connect.InternalTopic {
	for _, sub := range p.Subtopologies {
		for _, w := range sub.Writes {
			if w.Name == name {
				return w
			}
		}
	}
	return connect.InternalTopic{}
}

// Feeds are the topics that feed these inputs, through whatever repartitions. Those of a join by a foreign key lead back
// to each other.
func (p *Program) Feeds(names []string) (list []string) {
	seen := map[string]bool{}
	var walk func(names []string)
	walk = func(names []string) {
		for _, name := range names {
			if seen[name] {
				continue
			}
			seen[name] = true
			if w := p.writer(name); w.Name != "" {
				walk(w.Like)
			} else {
				list = append(list, name)
			}
		}
	}
	walk(names)
	return list
}

// Counts are the numbers of partitions of topics, and of repartitions in memory: as many as the changelog of the tasks
// behind them has, which is fixed when it is created, or as many as there are tasks before them. Where the partitions of
// sources come and go, the session has a fixed number for those.
func (p *Program) Counts(s connect.Session) map[string]int32 {
	counts := s.Partitions()
	if !p.Memory {
		return counts
	}
	sharded, _ := s.(connect.Sharded)
	for _, sub := range p.Subtopologies {
		for _, w := range sub.Writes {
			switch {
			case sharded == nil:
				counts[w.Name] = max(w.Partitions, counts[w.Name], sub.Tasks(counts))
			case w.Partitions > 0:
				counts[w.Name] = w.Partitions
			default:
				counts[w.Name] = sharded.Tasks()
			}
		}
		for _, down := range p.Subtopologies {
			for _, in := range down.Inputs {
				if n := counts[down.Changelog]; n > 0 && in.Port.Memory {
					counts[in.Port.Name] = n
				}
			}
		}
	}
	return counts
}

// Tasks is the number of tasks of a subtopology: that of the largest of its inputs' partitions. counts has the number
// of partitions of each topic.
func (s *Subtopology) Tasks(counts map[string]int32) (n int32) {
	for _, in := range s.Inputs {
		n = max(n, counts[in.Port.Name])
	}
	return n
}

// NewTask makes a task, its chain compiled, that is to be restored next.
func (p *Program) NewTask(sub *Subtopology, spec *task.Spec, partition int32, s connect.Session, g connect.Guarantee, view task.View, bad func(task.Bad)) *task.Task {
	counts := p.Counts(s)
	_, sharded := s.(connect.Sharded)
	var ports []*task.Port
	for _, in := range sub.Inputs {
		if partition >= counts[in.Port.Name] {
			continue
		}
		spec := in.Port
		if spec.Repartition && !sharded { // else the engine announces them, see announce
			spec.Upstream = p.upstream(spec.Name, counts)
		}
		port := &task.Port{Part: source.Partition{Stream: spec.Name, Index: partition}, Spec: &spec}
		if g == connect.AtMostOnce && !spec.Memory {
			port.Limit(source.AtFile(0, 0)) // before everything
		}
		ports = append(ports, port)
	}
	t := task.New(spec, partition, ports, view, bad)
	sub.Compile(t, facts{s, counts, p.Memory})
	t.Ready()
	return t
}

// Inputs are the partitions whose positions a task's state belongs to: those that it reads, or, behind an exchange in
// memory, all.
func (p *Program) Inputs(t *task.Task, counts map[string]int32) (parts []source.Partition) {
	for _, port := range t.Ports {
		if !port.Spec.Memory {
			parts = append(parts, port.Part)
		}
	}
	if len(parts) > 0 {
		return parts
	}
	for _, sub := range p.Subtopologies {
		for _, in := range sub.Inputs {
			for i := range counts[in.Port.Name] {
				if !in.Port.Memory {
					parts = append(parts, source.Partition{Stream: in.Port.Name, Index: i})
				}
			}
		}
	}
	return parts
}

// Pass hands what a step has produced to the tasks of this process that it is for: records first, then the watermark.
func (p *Program) Pass(t *task.Task, counts func() map[string]int32, offer func(b source.Batch, x task.Parcel)) {
	if !p.Memory {
		return
	}
	t.Cross.Take(func(to source.Partition, x task.Parcel) {
		offer(source.Batch{Partition: to, Bytes: x.Bytes(), Release: x.Release}, x)
	})
	for _, c := range t.Moved() {
		value := task.AppendControl(nil, task.Control{Tasks: []task.ControlTask{{Task: c.Task, Watermark: c.Watermark, Idle: c.Idle}}})
		for i := range counts()[c.Stream] {
			offer(source.Batch{Partition: source.Partition{Stream: c.Stream, Index: i}, Bytes: len(value),
				Records: []source.Record{{Value: value, Headers: []source.Header{{Key: task.ControlHeader}}}}}, nil)
		}
	}
}

// upstream is the number of tasks that write a repartition topic.
func (p *Program) upstream(topic string, counts map[string]int32) (n int) {
	for _, sub := range p.Subtopologies {
		for _, w := range sub.Writes {
			if w.Name == topic {
				n += int(sub.Tasks(counts))
			}
		}
	}
	return n
}

type facts struct {
	session connect.Session
	counts  map[string]int32
	memory  bool
}

func (f facts) Memory() bool { return f.memory }

func (f facts) Partitions(topic string) int32      { return f.counts[topic] }
func (f facts) Limits(topic string) connect.Limits { return f.session.Limits(topic) }

// End is a source or sink of a topology with its codecs: each a codec.Codec of its type, or nil. The engine has no use
// for it, the test driver has.
type End struct {
	Topic      string
	Source     bool
	Key, Value any
}
