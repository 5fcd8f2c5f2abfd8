package stream_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/millstream-go/millstream/pattern"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// isText says that a value begins with a text.
func isText(text string) func(string) bool {
	return func(v string) bool { return strings.HasPrefix(v, text) }
}

// matchText names the records of a match.
func matchText(_ string, m pattern.Match[string]) string {
	var list []string
	for _, e := range m.Events {
		list = append(list, e.Value)
	}
	return strings.Join(list, " ")
}

// search prints what a pattern finds in records that come a minute apart, and what has timed out.
func search(p pattern.Pattern[string], records string) {
	topo := stream.New("search")
	found := keyedStrings(topo, "in").Detect("search", p, matchText)
	timedOut := found.TimedOut(func(k string, m pattern.Match[string]) string { return "timed out: " + matchText(k, m) })
	found.Map(func(_, s string) string { return s }).Merge(timedOut).To(sink.Kafka("out", codec.String))
	d := start(topo)
	for i, r := range strings.Fields(records) {
		d.PipeKeyed("in", "k", noon.Add(time.Duration(i)*time.Minute), r)
	}
	d.Advance(noon.Add(24 * time.Hour))
	printed(d)
}

// How often a step happens: each number of times is a match, greedy steps take what they can, combinations leave some out.
func ExampleKeyed_Detect_repetitions() {
	a, b := isText("a"), isText("b")
	for _, p := range []pattern.Pattern[string]{
		pattern.Begin("a", a).OneOrMore().Next("b", b),
		pattern.Begin("a", a).TimesBetween(2, 3).Next("b", b),
		pattern.Begin("a", a).TimesOrMore(2).AllowCombinations().Next("b", b),
		pattern.Begin("start", isText("a1")).FollowedBy("a", a).OneOrMore().Greedy().FollowedBy("any", isText("")),
		pattern.Begin("a", isText("a3")).FollowedBy("c", isText("c")).Optional().FollowedBy("b", b),
	} {
		fmt.Println("-")
		search(p, "a1 a2 a3 b")
	}
	// Output:
	// -
	// a1 a2 a3 b
	// a2 a3 b
	// a3 b
	// -
	// a1 a2 a3 b
	// a2 a3 b
	// -
	// a1 a2 a3 b
	// a1 a3 b
	// a2 a3 b
	// -
	// a1 a2 a3 b
	// -
	// a3 b
}

// What must not happen in between, or up to the end of the time that there is.
func ExampleKeyed_Detect_negations() {
	a, b, c := isText("a"), isText("b"), isText("c")
	for _, p := range []pattern.Pattern[string]{
		pattern.Begin("a", a).NotNext("c", c),
		pattern.Begin("a", a).NotFollowedBy("c", c).FollowedBy("b", b),
		pattern.Begin("b", b).NotFollowedBy("a", a).Within(10 * time.Minute),
		pattern.Begin("a", a).FollowedByAny("b", b),
	} {
		fmt.Println("-")
		search(p, "a1 c a2 b1 b2")
	}
	// Output:
	// -
	// a2
	// -
	// a2 b1
	// -
	// b1
	// b2
	// -
	// a1 b1
	// a2 b1
	// a1 b2
	// a2 b2
}

// A pattern as a step of another one, repeated as a whole.
func ExampleKeyed_Detect_groups() {
	pair := pattern.Begin("b", isText("b")).Next("c", isText("c"))
	a := pattern.Begin("a", isText("a"))
	for _, p := range []pattern.Pattern[string]{
		a.NextGroup(pair),
		a.FollowedByGroup(pair).Times(2),
		a.FollowedByAnyGroup(pair),
	} {
		fmt.Println("-")
		search(p, "a b1 c1 x b2 c2")
	}
	// Output:
	// -
	// a b1 c1
	// -
	// a b1 c1 b2 c2
	// -
	// a b1 c1
	// a b2 c2
}

// What ends repetitions, by the record alone or with what has been matched; how long after the record before; and which
// other matches a match leaves room for.
func ExampleKeyed_Detect_ends() {
	a, b := isText("a"), isText("b")
	for _, p := range []pattern.Pattern[string]{
		pattern.Begin("a", a).OneOrMore().Until(b),
		pattern.Begin("a", a).OneOrMore().UntilWhere(func(_ string, so pattern.Match[string]) bool { return so.Count("a") == 2 }),
		pattern.Begin("a", a).FollowedBy("b", b).WithinPrevious(2 * time.Minute),
		pattern.Begin("a", a).OneOrMore().FollowedBy("b", b).AfterMatch(pattern.SkipPastLast()),
	} {
		fmt.Println("-")
		search(p, "a1 a2 a3 b a4")
	}
	// Output:
	// -
	// a1
	// a1 a2
	// a2
	// a1 a2 a3
	// a2 a3
	// a3
	// a4
	// -
	// a1
	// a1 a2
	// a2
	// a2 a3
	// a3
	// a3 a4
	// a4
	// -
	// timed out: a1
	// timed out: a2
	// a3 b
	// timed out: a4
	// -
	// a1 a2 a3 b
}

// The time at which a match is certain does not depend on the steps of the watermark; as in Flink it does.
func ExampleDetected_AtWatermarks() {
	topo := stream.New("silence")
	silent := pattern.Begin("a", isText("a")).NotFollowedBy("b", isText("b")).Within(10 * time.Minute)
	in := keyedStrings(topo, "in")
	in.Detect("exact", silent, matchText).To(sink.Kafka("exact", codec.String))
	in.Detect("flink", silent, matchText).AtWatermarks().To(sink.Kafka("flink", codec.String))

	d := start(topo)
	d.PipeKeyed("in", "k", noon, "a")
	d.Advance(noon.Add(time.Hour))
	for _, topic := range []string{"exact", "flink"} {
		for _, r := range d.Records(topic) {
			fmt.Println(string(r.Value), r.Time.Format("15:04:05.000"))
		}
	}
	// Output:
	// a 12:10:00.000
	// a 12:59:59.999
}
