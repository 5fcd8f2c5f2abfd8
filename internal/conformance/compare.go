package conformance

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

func (c Compare) check() error {
	for _, x := range []struct {
		what, have string
		known      []string
	}{
		{"order", c.Order, []string{"exact", "per_step_key", "multiset_per_step"}},
		{"values", c.Values, []string{"", "comma_list_as_multiset"}},
		{"drops", c.Drops, []string{"exact", "advisory", "none"}},
		{"timeouts", c.Timeouts, []string{"", "distinct_advisory"}},
	} {
		if !slices.Contains(x.known, x.have) {
			return fmt.Errorf("unknown compare mode %s %q", x.what, x.have)
		}
	}
	return nil
}

// Result is what a run has put out: by topic, in order, and the dropped records by step.
type Result struct {
	Out   map[string][]Output
	Drops map[int]int64
}

// line is an output as it is compared, without its step.
func (c Compare) line(o Output) string {
	if o.Watermark != nil {
		return "watermark " + strconv.FormatInt(*o.Watermark, 10)
	}
	key := "null"
	if o.Key != nil {
		key = strconv.Quote(*o.Key)
	}
	b, _ := o.Value.MarshalJSON()
	value := string(b)
	if c.Values == "comma_list_as_multiset" && o.Value.kind == text {
		// Where Flink merges the states of windows, it writes a "+" between them. Which of them comes first, it leaves to
		// the order of a hash table, so that only their number and what is in them can be compared.
		items := strings.Split(strings.ReplaceAll(o.Value.text, "+", ",+,"), ",")
		slices.Sort(items)
		value = strconv.Quote(strings.Join(items, ","))
	}
	s := fmt.Sprintf("%s = %s @%d", key, value, o.TS)
	if o.Window != nil {
		s += fmt.Sprintf(" [%d, %d]", o.Window.Start, o.Window.End)
	}
	return s
}

// lines are the outputs of each step, in the order that is compared.
func (c Compare) lines(topic string, list []Output) (m map[int][]string) {
	m = map[int][]string{}
	type keyed struct{ key, line string }
	steps := map[int][]keyed{}
	for _, o := range list {
		if slices.Contains(c.SkipSteps, o.Step) {
			continue
		}
		k := ""
		if o.Key != nil {
			k = "k" + *o.Key
		}
		step := o.Step
		if c.distinct(topic) {
			step = 0 // as a set, whatever the steps
		}
		steps[step] = append(steps[step], keyed{k, c.line(o)})
	}
	for step, list := range steps {
		switch {
		case c.distinct(topic), c.Order == "multiset_per_step":
			slices.SortFunc(list, func(a, b keyed) int { return strings.Compare(a.line, b.line) })
		case c.Order == "per_step_key":
			slices.SortStableFunc(list, func(a, b keyed) int { return strings.Compare(a.key, b.key) })
		}
		if c.distinct(topic) {
			list = slices.Compact(list)
		}
		for _, k := range list {
			m[step] = append(m[step], k.line)
		}
	}
	return m
}

func (c Compare) distinct(topic string) bool { return topic == "timeouts" && c.Timeouts != "" }

// Check compares a result with what the case expects.
func (c *Case) Check(r *Result) error {
	if c.Compare.Quirk {
		return c.checkQuirk(r)
	}
	for topic := range r.Out {
		if _, ok := c.Expected[topic]; !ok && len(r.Out[topic]) > 0 {
			return fmt.Errorf("%d results in topic %q, where none are expected", len(r.Out[topic]), topic)
		}
	}
	for topic, want := range c.Expected {
		if err := c.differ(topic, c.Compare.lines(topic, want), c.Compare.lines(topic, r.Out[topic])); err != nil {
			return err
		}
	}
	if c.Compare.Drops == "exact" {
		want := map[int]int64{}
		for _, d := range c.Metrics.At {
			want[int(d[0])] = d[1]
		}
		for i := range c.Steps {
			if slices.Contains(c.Compare.SkipSteps, i) {
				continue
			}
			if want[i] != r.Drops[i] {
				return fmt.Errorf("step %d (%s): %d dropped, want %d", i, c.describe(i), r.Drops[i], want[i])
			}
		}
	}
	return nil
}

func (c *Case) differ(topic string, want, have map[int][]string) error {
	for i := range c.Steps {
		if !slices.Equal(want[i], have[i]) {
			return fmt.Errorf("topic %s, step %d (%s):\n  have %s\n  want %s", topic, i, c.describe(i), strings.Join(have[i], "\n       "), strings.Join(want[i], "\n       "))
		}
	}
	return nil
}

func (c *Case) describe(i int) string {
	s := c.Steps[i]
	switch {
	case s.Watermark != nil:
		return fmt.Sprintf("watermark %d", *s.Watermark)
	case s.AdvanceWallMS != nil:
		return fmt.Sprintf("wall clock +%d", *s.AdvanceWallMS)
	case s.Key == nil:
		return fmt.Sprintf("%s null = %s @%d", s.Topic, s.Value, s.TS)
	}
	return fmt.Sprintf("%s %s = %s @%d", s.Topic, *s.Key, s.Value, s.TS)
}

// checkQuirk is for cases that record a defect: results that were lost. Ours must have all that is expected, and more.
func (c *Case) checkQuirk(r *Result) error {
	more := 0
	for topic, want := range c.Expected {
		have := map[string]int{}
		for _, o := range r.Out[topic] {
			have[c.Compare.line(o)]++
		}
		for _, o := range want {
			if have[c.Compare.line(o)]--; have[c.Compare.line(o)] < 0 {
				return fmt.Errorf("topic %s: lost %s", topic, c.Compare.line(o))
			}
		}
		more += len(r.Out[topic]) - len(want)
	}
	if more == 0 {
		return fmt.Errorf("the results are those that the case records as a defect")
	}
	return nil
}

// Same says how two results differ, step by step.
func (c *Case) Same(a, b *Result) error {
	for topic := range c.Expected {
		if err := c.differ(topic, c.Compare.lines(topic, a.Out[topic]), c.Compare.lines(topic, b.Out[topic])); err != nil {
			return err
		}
	}
	return nil
}
