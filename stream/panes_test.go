package stream_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

// finals has nothing but the final results of windows, which may share panes therefore.
func finals(w window.Window, bound int64) func(topo *stream.Topology) {
	return func(topo *stream.Topology) {
		a := texts(topo).Watermark(stream.Watermark{OutOfOrder: millis(bound)}).KeyBy(letter).Window(w).
			FoldMerge("texts", func(a *string, v string) { *a += v[1:] }, func(a *string, b string) { *a += b })
		a.OnClose(textOf).To(resultsOf[texted]("closes"))
		a.Late(lateOf).To(results("late"))
	}
}

func TestPanes(t *testing.T) {
	for name, c := range map[string]struct {
		w            window.Window
		bound        int64
		in           string
		closes, late string
		revisions    []uint64
	}{
		"one record, all its windows": {hopping(15, 5, 0), 0, "a1@7 z@100", "a[-5,10)=1 a[0,15)=1 a[5,20)=1", "", []uint64{1, 1, 1}},
		"two panes":                   {hopping(10, 5, 0), 0, "a1@1 a2@6 a3@7 z@100", "a[-5,5)=1 a[0,10)=123 a[5,15)=23", "", []uint64{1, 3, 2}},
		"by end, then key":            {hopping(10, 5, 0), 0, "b1@6 a2@6 b3@1 z@100", "a[0,10)=2 b[0,10)=31 a[5,15)=2 b[5,15)=1", "", []uint64{1, 2, 1, 1}},
		"a window that has closed is not made again": {hopping(10, 5, 0), 0, "a1@1 b@5 a2@4 z@100",
			"a[-5,5)=1 a[0,10)=12 b[0,10)= b[5,15)=", "", []uint64{1, 2, 1, 1}},
		"late is what all windows have closed for": {hopping(10, 5, 0), 0, "a1@1 b@10 a2@4 a3@5 z@100",
			"a[-5,5)=1 a[0,10)=1 a[5,15)=3 b[5,15)= b[10,20)=", "a2@4", []uint64{1, 1, 1, 1, 1}},
		"grace":             {hopping(10, 5, 5), 0, "a1@1 b@10 a2@4 a3@5 z@100", "a[-5,5)=1 a[0,10)=123 a[5,15)=3 b[5,15)= b[10,20)=", "", []uint64{1, 3, 1, 1, 1}},
		"before 1970":       {hopping(10, 5, 0), 0, "a1@-7 z@100", "a[-15,-5)=1 a[-10,0)=1", "", []uint64{1, 1}},
		"time far ahead":    {hopping(10, 5, 0), 0, "a1@1 a2@1000000 z@1000100", "a[-5,5)=1 a[0,10)=1 a[999995,1000005)=2 a[1000000,1000010)=2", "", []uint64{1, 1, 1, 1}},
		"an offset":         {window.Hopping{Size: millis(10), Advance: millis(5), Offset: millis(2)}, 0, "a1@1 z@100", "a[-8,2)=1 a[-3,7)=1", "", []uint64{1, 1}},
		"many panes, a few": {hopping(100, 1, 0), 0, "a1@1 a2@2 z@5", "a[-98,2)=1 a[-97,3)=12 a[-96,4)=12 a[-95,5)=12", "", []uint64{1, 2, 2, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			streamtest.EveryWay(t, made(finals(c.w, c.bound)), func(t *testing.T, d *streamtest.Driver) {
				pipe(d, c.in)
				var revisions []uint64
				var list []texted
				for _, r := range d.Drain[texted]("closes") {
					if r.Key != "z" {
						list, revisions = append(list, r), append(revisions, r.Revision)
						require.True(t, r.Final)
					}
				}
				require.Equal(t, c.closes, shown(list))
				require.Equal(t, c.revisions, revisions)
				var late string
				for _, r := range d.Drain[result]("late") {
					late += fmt.Sprintf("%s@%d", r.Value, r.RecordTime)
				}
				require.Equal(t, c.late, late)
			})
		})
	}
}

// Whatever the disorder, and whatever happens to the process in between: windows made of panes are what the records
// alone say.
func TestPanesEqualTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		advance, n := rapid.Int64Range(1, 6).Draw(t, "advance"), rapid.Int64Range(2, 6).Draw(t, "panes")
		grace, bound := rapid.Int64Range(0, 12).Draw(t, "grace"), rapid.Int64Range(0, 8).Draw(t, "bound")
		w, m := kinds["hopping"](advance*n, advance, grace)
		events := draw(t)
		closes, late := expect(m, events, bound, 1000)

		d := streamtest.New(t, made(finals(w, bound))(), ways(t)...)
		for _, e := range events {
			pipe(d, e.String())
			happen(t, d)
		}
		d.Advance(ms(1000))
		happen(t, d)

		var got []string
		for _, r := range d.Drain[texted]("closes") {
			got = append(got, r.String())
		}
		require.Equal(t, closes, got, "closes of %v, records %v", w, events)
		got = nil
		for _, r := range d.Drain[result]("late") {
			got = append(got, fmt.Sprintf("%s@%d", r.Value, r.RecordTime))
		}
		require.Equal(t, late, got, "late for %v, records %v", w, events)
	})
}

// Windows share panes only if nothing but their final results is wanted, which the state says: to want more later needs
// another state.
func TestPanesAreForFinalResults(t *testing.T) {
	kind := func(build func(stream.Aggregated[string, string, int64])) string {
		topo := stream.New("test")
		build(texts(topo).KeyBy(letter).Window(hopping(10, 5, 0)).Count("n"))
		return topo.Describe(stream.JSON)
	}
	onClose := func(a stream.Aggregated[string, string, int64]) { a.OnClose(of).To(results("out")) }
	require.Contains(t, kind(onClose), `"kind": "panes"`)
	for name, more := range map[string]func(stream.Aggregated[string, string, int64]){
		"update":       func(a stream.Aggregated[string, string, int64]) { a.OnUpdate(of).To(results("more")) },
		"nth":          func(a stream.Aggregated[string, string, int64]) { a.OnUpdateNth(2, of).To(results("more")) },
		"update every": func(a stream.Aggregated[string, string, int64]) { a.OnUpdateEvery(millis(5), of).To(results("more")) },
		"commit":       func(a stream.Aggregated[string, string, int64]) { a.OnCommit(of).To(results("more")) },
	} {
		require.NotContains(t, kind(func(a stream.Aggregated[string, string, int64]) { onClose(a); more(a) }), `"kind": "panes"`, name)
	}
}
