package stream_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

// texted is a result with what the records of its window say, in the order in which they were added.
type texted struct {
	Key       string
	From, To  int64
	Text      string
	Revision  uint64
	Final     bool
	Retracted bool
	At        int64
}

func textOf(k string, s window.Span, a string) texted {
	return texted{Key: k, From: s.From, To: s.To, Text: a, Revision: s.Revision, Final: s.Final, Retracted: s.Retracted}
}

// shown prints results as "a[0,10)=12", those that are retracted with a minus before.
func shown(rs []texted) string {
	var list []string
	for _, r := range rs {
		s := fmt.Sprintf("%s[%d,%d)=%s", r.Key, r.From, r.To, r.Text)
		if r.Retracted {
			s = "-" + s
		}
		list = append(list, s)
	}
	return strings.Join(list, " ")
}

// texting gathers in windows what records such as "a1" say behind their first letter, which is their key.
func texting(windowed func(stream.Keyed[string, string]) stream.Windowed[string, string], bound int64) func(topo *stream.Topology) {
	return func(topo *stream.Topology) {
		keyed := texts(topo).Watermark(stream.Watermark{OutOfOrder: time.Duration(bound) * time.Millisecond}).KeyBy(letter)
		a := windowed(keyed).FoldMerge("texts", func(a *string, v string) { *a += v[1:] }, func(a *string, b string) { *a += b })
		a.OnUpdate(textOf).To(resultsOf[texted]("updates"))
		a.OnCommit(textOf).To(resultsOf[texted]("commits"))
		a.OnClose(textOf).To(resultsOf[texted]("closes"))
		a.Late(lateOf).To(results("late"))
	}
}

func in(w window.Window) func(stream.Keyed[string, string]) stream.Windowed[string, string] {
	return func(s stream.Keyed[string, string]) stream.Windowed[string, string] { return s.Window(w) }
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

func session(gap, grace int64) window.Window {
	return window.Session{Gap: millis(gap), Grace: millis(grace)}
}
func sliding(difference, grace int64) window.Window {
	return window.Sliding{Difference: millis(difference), Grace: millis(grace)}
}
func trailing(size, grace int64) window.Window {
	return window.Trailing{Size: millis(size), Grace: millis(grace)}
}

// The records, in order; the updates and the closes of the windows; what was late.
var kindCases = map[string]struct {
	w                     window.Window
	bound                 int64
	in                    string
	updates, closes, late string
}{
	"session: records within the gap":           {session(5, 0), 0, "a1@10 a2@12 z@30", "a[10,15)=1 a[10,17)=12 z[30,35)=", "a[10,17)=12", ""},
	"session: a distance of the gap merges":     {session(5, 10), 0, "a1@10 a2@15 z@40", "a[10,15)=1 a[10,20)=12 z[40,45)=", "a[10,20)=12", ""},
	"session: a larger one does not":            {session(5, 10), 0, "a1@10 a2@16 z@40", "a[10,15)=1 a[16,21)=2 z[40,45)=", "a[10,15)=1 a[16,21)=2", ""},
	"session: it closes when w reaches its end": {session(5, 0), 0, "a1@10 z@15", "a[10,15)=1 z[15,20)=", "a[10,15)=1", ""},
	"session: not before":                       {session(5, 0), 0, "a1@10 z@14", "a[10,15)=1 z[14,19)=", "", ""},
	"session: grace":                            {session(5, 3), 0, "a1@10 z@17 a2@9 z@18", "a[10,15)=1 z[17,22)= -a[10,15)=1 a[9,15)=12 z[17,23)=", "a[9,15)=12", ""},
	"session: keys are apart":                   {session(5, 0), 0, "a1@10 b2@11 a3@12 z@30", "a[10,15)=1 b[11,16)=2 a[10,17)=13 z[30,35)=", "b[11,16)=2 a[10,17)=13", ""},
	"session: a record bridges two":             {session(5, 20), 0, "a1@10 a2@18 a3@14 z@50", "a[10,15)=1 a[18,23)=2 -a[18,23)=2 a[10,23)=123 z[50,55)=", "a[10,23)=123", ""},
	"session: a record before bridges":          {session(5, 20), 0, "a1@20 a2@10 a3@15 z@50", "a[20,25)=1 a[10,15)=2 -a[20,25)=1 a[10,25)=213 z[50,55)=", "a[10,25)=213", ""},
	"session: three become one": {session(5, 50), 0, "a1@10 a2@16 a3@22 a4@13 a5@19 z@90",
		"a[10,15)=1 a[16,21)=2 a[22,27)=3 -a[16,21)=2 a[10,21)=124 -a[22,27)=3 a[10,27)=12435 z[90,95)=", "a[10,27)=12435", ""},
	"session: a record within": {session(10, 0), 0, "a1@10 a2@18 a3@14 z@40", "a[10,20)=1 a[10,28)=12 a[10,28)=123 z[40,50)=", "a[10,28)=123", ""},
	"session: a closed one never merges": {session(5, 0), 0, "a1@10 a2@15 a3@21 a4@18 z@40", "a[10,15)=1 a[10,20)=12 a[21,26)=3 -a[21,26)=3 a[18,26)=34 z[40,45)=",
		"a[10,20)=12 a[18,26)=34", ""},
	"session: late": {session(5, 0), 0, "z@40 a1@35 a2@36", "z[40,45)= a[36,41)=2", "", "a[35,40)=a1"},
	"session: not late where an open one takes it": {session(5, 2), 0, "a1@11 z@17 a2@10 z@18", "a[11,16)=1 z[17,22)= -a[11,16)=1 a[10,16)=12 z[17,23)=", "a[10,16)=12", ""},
	"session: late beside a closed one":            {session(5, 0), 0, "a1@10 z@30 a2@11 z@31", "a[10,15)=1 z[30,35)= z[30,36)=", "a[10,15)=1", "a[11,16)=a2"},
	"session: before 1970":                         {session(5, 0), 0, "a1@-10 a2@-6 a3@0 z@20", "a[-10,-5)=1 a[-10,-1)=12 a[0,5)=3 z[20,25)=", "a[-10,-1)=12 a[0,5)=3", ""},
	"session: one time":                            {session(5, 0), 0, "a1@10 a2@10 z@20", "a[10,15)=1 a[10,15)=12 z[20,25)=", "a[10,15)=12", ""},
	"session: the same key again":                  {session(5, 0), 0, "a1@10 z@20 a2@21 z@30", "a[10,15)=1 z[20,25)= a[21,26)=2 z[30,35)=", "a[10,15)=1 z[20,25)= a[21,26)=2", ""},
	"session: the bound holds the watermark back":  {session(5, 0), 10, "a1@10 z@24 a2@14 z@29", "a[10,15)=1 z[24,29)= a[10,19)=12 z[24,34)=", "a[10,19)=12", ""},

	// The vectors of KIP-450, as Kafka Streams computes them: record 0 comes out of order.
	"sliding: in and out of order": {sliding(5000, 100000), 0, "a1@8000 a2@9200 a3@12400 a0@8600",
		"a[3000,8001)=1 " +
			"a[4200,9201)=12 a[8001,13002)=2 " +
			"a[7400,12401)=123 a[8001,13002)=23 a[9201,14202)=3 " +
			"a[3600,8601)=10 a[4200,9201)=120 a[7400,12401)=1230 a[8001,13002)=230 a[8601,13602)=23", "", ""},
	"sliding: both ends are in":               {sliding(10, 0), 0, "a1@0 a2@10 z@99", "a[-10,1)=1 a[0,11)=12 a[1,12)=2 z[89,100)=", "a[-10,1)=1 a[0,11)=12 a[1,12)=2", ""},
	"sliding: no further":                     {sliding(10, 0), 0, "a1@0 a2@11 z@99", "a[-10,1)=1 a[1,12)=2 z[89,100)=", "a[-10,1)=1 a[1,12)=2", ""},
	"sliding: one time":                       {sliding(10, 0), 0, "a1@5 a2@5 z@99", "a[-5,6)=1 a[-5,6)=12 z[89,100)=", "a[-5,6)=12", ""},
	"sliding: closes behind its last instant": {sliding(10, 2), 0, "a1@5 z@7 y@8", "a[-5,6)=1 z[-3,8)= y[-2,9)=", "a[-5,6)=1", ""},
	"sliding: late":                           {sliding(10, 0), 0, "z@20 a1@9 a2@10", "z[10,21)=", "", "a[9,20)=a1"},
	"sliding: a record whose windows have closed counts in later ones": {sliding(10, 0), 0, "z@20 a1@12 a2@21 z@99",
		"z[10,21)= a[11,22)=12 a[13,24)=2 z[89,100)=", "z[10,21)= a[11,22)=12 a[13,24)=2", ""},
	"sliding: a closed window is the beginning of later ones": {sliding(10, 0), 0, "a1@10 a2@12 z@20 a3@21 z@99",
		"a[0,11)=1 a[2,13)=12 a[11,22)=2 z[10,21)= a[11,22)=23 a[13,24)=3 z[89,100)=", "a[0,11)=1 a[2,13)=12 z[10,21)= a[11,22)=23 a[13,24)=3", ""},
	"sliding: out of order within the grace": {sliding(10, 20), 0, "a1@20 a2@10 z@99", "a[10,21)=1 a[0,11)=2 a[10,21)=12 a[11,22)=1 z[89,100)=", "a[0,11)=2 a[10,21)=12 a[11,22)=1", ""},

	"trailing: each record with what came before":    {trailing(10, 0), 0, "a1@0 a2@9 a3@10 z@99", "a[-9,1)=1 a[0,10)=12 a[1,11)=23 z[90,100)=", "a[-9,1)=1 a[0,10)=12 a[1,11)=23", ""},
	"trailing: one time":                             {trailing(10, 0), 0, "a1@5 a2@5 z@99", "a[-4,6)=1 a[-4,6)=12 z[90,100)=", "a[-4,6)=12", ""},
	"trailing: out of order":                         {trailing(10, 20), 0, "a1@10 a2@14 a3@7 z@99", "a[1,11)=1 a[5,15)=12 a[-2,8)=3 a[1,11)=13 a[5,15)=123 z[90,100)=", "a[-2,8)=3 a[1,11)=13 a[5,15)=123", ""},
	"trailing: closed itself, counted in later ones": {trailing(10, 0), 0, "a1@20 a2@15 a3@22 z@99", "a[11,21)=1 a[11,21)=12 a[13,23)=123 z[90,100)=", "a[11,21)=12 a[13,23)=123", ""},
	"trailing: late":                                 {trailing(10, 0), 0, "z@20 a1@10 a2@11", "z[11,21)=", "", "a[10,20)=a1"},

	"count":                             {window.Count{Size: 2, TTL: time.Hour}, 0, "a1@5 b1@3 a2@2 a3@9 z@10", "a[5,6)=1 b[3,4)=1 -a[5,6)=1 a[2,6)=12 a[9,10)=3 z[10,11)=", "a[2,6)=12", ""},
	"count: closes for want of records": {window.Count{Size: 3, TTL: millis(10)}, 0, "a1@5 a2@7 z@16 z@17", "a[5,6)=1 a[5,8)=12 z[16,17)= z[16,18)=", "a[5,8)=12", ""},
	"count: of one":                     {window.Count{Size: 1, TTL: millis(10)}, 0, "a1@5 a2@3", "a[5,6)=1 a[3,4)=2", "a[5,6)=1 a[3,4)=2", ""},

	"cumulate": {window.Cumulate{Size: millis(10), Step: millis(5)}, 0, "a1@1 a2@7 z@30", "a[0,5)=1 a[0,10)=1 a[0,10)=12 z[30,35)= z[30,40)=", "a[0,5)=1 a[0,10)=12", ""},
	"cumulate: a late record counts where it can": {window.Cumulate{Size: millis(9), Step: millis(3)}, 0, "a1@1 z@6 a2@2 z@9 a3@8 z@30",
		"a[0,3)=1 a[0,6)=1 a[0,9)=1 z[0,9)= a[0,9)=12 z[9,12)= z[9,15)= z[9,18)= z[27,33)= z[27,36)=",
		"a[0,3)=1 a[0,6)=1 a[0,9)=12 z[0,9)= z[9,12)= z[9,15)= z[9,18)=", "a[0,9)=a3"},
	"cumulate: before 1970, with an offset": {window.Cumulate{Size: millis(10), Step: millis(5), Offset: millis(1)}, 0, "a1@-10 a2@0 z@30",
		"a[-19,-9)=1 a[-9,1)=2 z[21,31)=", "a[-19,-9)=1 a[-9,1)=2", ""},
}

func TestWindowKinds(t *testing.T) {
	for name, c := range kindCases {
		t.Run(name, func(t *testing.T) {
			streamtest.EveryWay(t, made(texting(in(c.w), c.bound)), func(t *testing.T, d *streamtest.Driver) {
				pipe(d, c.in)
				assert.Equal(t, c.updates, shown(d.Drain[texted]("updates")), "updates")
				got := d.Drain[texted]("closes")
				assert.Equal(t, c.closes, shown(got), "closes")
				assert.Equal(t, c.late, closed(d.Drain[result]("late")), "late")
				for _, r := range got {
					assert.True(t, r.Final)
				}
			})
		})
	}
}

// A gap that records choose: the session of a record lasts to the end of its gap.
func TestSessionBy(t *testing.T) {
	gap := func(v string) time.Duration { return millis(int64(v[1] - '0')) }
	by := func(s stream.Keyed[string, string]) stream.Windowed[string, string] { return s.SessionBy(gap, 0) }
	streamtest.EveryWay(t, made(texting(by, 0)), func(t *testing.T, d *streamtest.Driver) {
		pipe(d, "a9@10 a1@12 a2@19 a3@22 z1@24 z1@25")
		assert.Equal(t, "a[10,19)=9 a[10,19)=91 a[10,21)=912 a[22,25)=3 z[24,25)=1 z[24,26)=11", shown(d.Drain[texted]("updates")))
		assert.Equal(t, "a[10,21)=912 a[22,25)=3", shown(d.Drain[texted]("closes")))
		pipe(d, "a0@30")
		require.Empty(t, d.Drain[texted]("updates"))
	}, streamtest.MayStop())
}

// Results carry the largest time among their records while they change, and the last instant of the window at its end.
func TestWindowKindTimes(t *testing.T) {
	for _, w := range []window.Window{session(5, 5), sliding(5, 5), trailing(5, 5), window.Count{Size: 2, TTL: time.Hour}} {
		d := streamtest.New(t, made(texting(in(w), 0))())
		pipe(d, "a1@10 a2@8 z@50")
		if w.String() != trailing(5, 5).String() && w.String() != sliding(5, 5).String() { // there an update has windows of its own
			for _, r := range d.Records("updates")[:2] {
				assert.EqualValues(t, 10, r.Time.UnixMilli(), "%v", w)
			}
		}
		closes := d.Records("closes")
		require.NotEmpty(t, closes, "%v", w)
		for _, r := range closes {
			v, err := codec.JSON[texted]().Decode(r.Value)
			require.NoError(t, err)
			assert.Equal(t, v.To-1, r.Time.UnixMilli(), "%v", w)
			assert.Equal(t, v.Key, string(r.Key), "%v", w)
		}
	}
}

func resultsOf[R any](topic string) sink.Sink[R] { return sink.Kafka(topic, codec.JSON[R]()) }

// The records, and what is emitted every 10 ms of event time.
func TestOnUpdateEvery(t *testing.T) {
	for name, c := range map[string]struct {
		w     window.Window
		bound int64
		in    string
		paced string
	}{
		"once for each slice, when the watermark reaches its end": {tumbling(100, 0), 0, "z@0 a1@1 a2@2 a3@9 b4@10 b5@11", "z[0,100)= a[0,100)=123 b[0,100)=4"},
		"not before":                     {tumbling(100, 0), 0, "z@0 a1@1 a2@9", "z[0,100)="},
		"the slices of the watermark":    {tumbling(100, 0), 5, "z@0 a1@8 a2@14 z@15 a3@16 z@24 z@25", "z[0,100)= a[0,100)=1 a[0,100)=12 z[0,100)= a[0,100)=123 z[0,100)="},
		"only what has changed":          {tumbling(100, 0), 0, "z@0 a1@3 b1@5 z@10 a2@12 z@20 z@30", "z[0,100)= a[0,100)=1 b[0,100)=1 z[0,100)= a[0,100)=12 z[0,100)= z[0,100)="},
		"a window that closes before":    {tumbling(4, 0), 0, "z@0 a1@1 z@4", "z[0,4)= a[0,4)=1"},
		"in the order of ends and keys":  {hopping(20, 10, 0), 0, "z@0 b1@2 a1@1 z@10", "z[-10,10)= z[0,20)= a[-10,10)=1 b[-10,10)=1 a[0,20)=1 b[0,20)=1 z[0,20)= z[10,30)="},
		"a session":                      {session(5, 50), 0, "z@0 a1@2 a2@4 z@10 a3@14 a4@9 z@20", "z[0,5)= a[2,9)=12 z[10,15)= a[2,19)=1234 z[20,25)="},
		"a session, retracted at once":   {session(5, 50), 0, "z@0 a1@8 z@10 a2@7 z@20", "z[0,5)= a[8,13)=1 z[10,15)= -a[8,13)=1 a[7,13)=12 z[20,25)="},
		"one that was not shown is gone": {session(5, 50), 0, "z@0 a1@8 a2@7 z@10", "z[0,5)= a[7,13)=12 z[10,15)="},
		"a sliding window":               {sliding(2, 50), 0, "z@0 a1@4 a2@5 z@10", "z[-2,1)= a[2,5)=1 a[3,6)=12 a[5,8)=2 z[8,11)="},
	} {
		t.Run(name, func(t *testing.T) {
			build := func(topo *stream.Topology) {
				texts(topo).Watermark(stream.Watermark{OutOfOrder: millis(c.bound)}).KeyBy(letter).Window(c.w).
					FoldMerge("texts", func(a *string, v string) { *a += v[1:] }, func(a *string, b string) { *a += b }).
					OnUpdateEvery(millis(10), textOf).To(resultsOf[texted]("paced"))
			}
			streamtest.EveryWay(t, made(build), func(t *testing.T, d *streamtest.Driver) {
				pipe(d, c.in)
				assert.Equal(t, c.paced, shown(d.Drain[texted]("paced")))
			})
		})
	}
}

func TestOnUpdateNth(t *testing.T) {
	streamtest.EveryWay(t, made(func(topo *stream.Topology) {
		texts(topo).KeyBy(letter).Window(tumbling(100, 0)).Count("n").OnUpdateNth(3, of).To(results("out"))
	}), func(t *testing.T, d *streamtest.Driver) {
		pipe(d, "a@1 a@2 b@2 a@3 b@3 a@4 a@5 a@6")
		assert.Equal(t, "a[0,100)=3 a[0,100)=6", closed(d.Drain[result]("out")))
	})
}
