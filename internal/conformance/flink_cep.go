package conformance

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/millstream-go/millstream/pattern"
	"github.com/millstream-go/millstream/stream"
)

// Flink's patterns. It lets the time of a key pass to the watermark at once, and says what has timed out.

// flinkStage is a stage of a pattern as a case writes it.
type flinkStage struct {
	Name              string
	Link              string
	Cond              string
	Times             json.RawMessage
	TimesOrMore       *int `json:"times_or_more"`
	OneOrMore         bool `json:"one_or_more"`
	Optional          bool
	Greedy            bool
	Consecutive       bool
	AllowCombinations bool `json:"allow_combinations"`
	Until             string
	Group             []json.RawMessage
}

type (
	flinkMatch  = pattern.Match[Value]
	flinkChain  = pattern.Pattern[Value]
	flinkSimple = func(Value) bool
)

func flinkPattern(b *build, n Node) error {
	var f struct {
		Input      string
		WithinMS   *int64  `json:"within_ms"`
		WithinType *string `json:"within_type"`
		Skip       string
		Stages     []json.RawMessage
	}
	if err := n.Into(&f); err != nil {
		return err
	}
	p, err := flinkStages(f.Stages)
	if err != nil {
		return err
	}
	if f.WithinMS != nil {
		kind := ""
		if f.WithinType != nil {
			kind = *f.WithinType
		}
		switch kind {
		case "first_and_last":
			p = p.Within(ms(*f.WithinMS))
		case "previous_and_current": // said of the last stage
			p = p.WithinPrevious(ms(*f.WithinMS))
		default:
			return unknown("kind of within", kind)
		}
	}
	switch name, step := parse(f.Skip); name {
	case "no_skip":
	case "skip_to_next":
		p = p.AfterMatch(pattern.SkipToNext())
	case "skip_past_last":
		p = p.AfterMatch(pattern.SkipPastLast())
	case "skip_to_first":
		p = p.AfterMatch(pattern.SkipToFirst(step))
	case "skip_to_last":
		p = p.AfterMatch(pattern.SkipToLast(step))
	default:
		return unknown("skip", f.Skip)
	}
	record := func(k Key, m flinkMatch) Record {
		stages := map[string][]Value{}
		for _, e := range m.Events {
			stages[e.Step] = append(stages[e.Step], e.Value)
		}
		v, err := Match(stages)
		if err != nil {
			v = Text(err.Error()) // which no case expects
		}
		return Record{k, v}
	}
	found := b.flinkSource(f.Input).Detect("pattern", p, record).AtWatermarks()
	b.to("out", found.MapValues(func(_ Key, r Record) Value { return r.Value }))
	b.to("timeouts", keyed(found.TimedOut(record)))
	b.to("late", keyed(found.Late(func(k Key, r stream.LateRecord[Value]) Record { return Record{k, r.Value} })))
	return nil
}

// flinkStages is a row of stages.
func flinkStages(list []json.RawMessage) (p flinkChain, err error) {
	for _, raw := range list {
		var s flinkStage
		if err := strict(raw, &s); err != nil {
			return p, err
		}
		if s.Group != nil {
			p, err = s.group(p)
		} else {
			p, err = s.single(p)
		}
		if err == nil {
			p, err = s.quantified(p)
		}
		if err != nil {
			return p, fmt.Errorf("stage %q: %w", s.Name, err)
		}
	}
	return p, nil
}

func (s *flinkStage) group(p flinkChain) (flinkChain, error) {
	if s.Name != "" || s.Cond != "" {
		return p, fmt.Errorf("a group with a name or a condition")
	}
	g, err := flinkStages(s.Group)
	if err != nil {
		return p, err
	}
	switch s.Link {
	case "begin":
		return pattern.BeginGroup(g), nil
	case "next":
		return p.NextGroup(g), nil
	case "followedBy":
		return p.FollowedByGroup(g), nil
	case "followedByAny":
		return p.FollowedByAnyGroup(g), nil
	}
	return p, unknown("link of a group", s.Link)
}

func (s *flinkStage) single(p flinkChain) (flinkChain, error) {
	cond, where, err := s.condition(s.Cond)
	if err != nil {
		return p, err
	}
	switch s.Link {
	case "begin":
		p = pattern.Begin(s.Name, cond)
	case "next":
		p = p.Next(s.Name, cond)
	case "followedBy":
		p = p.FollowedBy(s.Name, cond)
	case "followedByAny":
		p = p.FollowedByAny(s.Name, cond)
	case "notNext":
		p = p.NotNext(s.Name, cond)
	case "notFollowedBy":
		p = p.NotFollowedBy(s.Name, cond)
	default:
		return p, unknown("link", s.Link)
	}
	if where != nil {
		p = p.Where(where)
	}
	return p, nil
}

// quantified says how often the stage happens.
func (s *flinkStage) quantified(p flinkChain) (flinkChain, error) {
	var n int
	var r [2]int
	switch {
	case s.Times == nil:
	case json.Unmarshal(s.Times, &n) == nil:
		p = p.Times(n)
	case json.Unmarshal(s.Times, &r) == nil:
		p = p.TimesBetween(r[0], r[1])
	default:
		return p, unknown("times", string(s.Times))
	}
	if s.TimesOrMore != nil {
		p = p.TimesOrMore(*s.TimesOrMore)
	}
	if s.OneOrMore {
		p = p.OneOrMore()
	}
	if s.Optional {
		p = p.Optional()
	}
	if s.Greedy {
		p = p.Greedy()
	}
	if s.Consecutive {
		p = p.Consecutive()
	}
	if s.AllowCombinations {
		p = p.AllowCombinations()
	}
	if s.Until != "" {
		cond, where, err := s.condition(s.Until)
		if err != nil {
			return p, err
		}
		if where == nil {
			p = p.Until(cond)
		} else {
			p = p.UntilWhere(func(v Value, so flinkMatch) bool { return cond(v) && where(v, so) })
		}
	}
	return p, nil
}

// condition is what an event must meet, and what it must meet together with those before it.
func (s *flinkStage) condition(spec string) (cond flinkSimple, where func(Value, flinkMatch) bool, err error) {
	name, arg := parse(spec)
	kind := func(letters string) flinkSimple {
		list := strings.Split(arg, ",")
		if letters != "" {
			list = strings.Split(letters, ",")
		}
		return func(v Value) bool { return v.String() != "" && slices.Contains(list, v.String()[:1]) }
	}
	switch name {
	case "type":
		return kind(""), nil, nil
	case "inc":
		return kind(""), func(v Value, so flinkMatch) bool {
			for x := range so.All(s.Name) {
				if mod(x.Num(), 7) >= mod(v.Num(), 7) {
					return false
				}
			}
			return true
		}, nil
	case "same_parity":
		letter, stage, _ := strings.Cut(arg, "/")
		return kind(letter), func(v Value, so flinkMatch) bool {
			first, ok := so.First(stage)
			return ok && mod(first.Num(), 2) == mod(v.Num(), 2)
		}, nil
	}
	return nil, nil, unknown("condition", spec)
}
