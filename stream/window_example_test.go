package stream_test

import (
	"fmt"
	"time"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

// visits are page views, counted in the windows given; what becomes of the counts is said by emit.
func visits(w window.Window, emit func(stream.Aggregated[string, string, int64]) stream.Stream[string]) *stream.Topology {
	topo := stream.New("visits")
	views := topo.From(source.Kafka("views", codec.String)).
		KeyBy(func(user string) string { return user }).
		Window(w).
		Count("visits")
	emit(views).To(sink.Kafka("out", codec.String))
	return topo
}

func line(user string, s window.Span, n int64) string {
	return fmt.Sprintf("%s %s-%s: %d", user, s.Start().Format("15:04"), s.End().Format("15:04"), n)
}

func onClose(a stream.Aggregated[string, string, int64]) stream.Stream[string] {
	return a.OnClose(line)
}

// viewed runs the topology on views of a user so many minutes after noon, and prints what comes out of it.
func viewed(topo *stream.Topology, minutes ...int) {
	d := start(topo)
	for _, m := range minutes {
		d.Pipe("views", noon.Add(time.Duration(m)*time.Minute), "ann")
	}
	d.Advance(noon.Add(72 * time.Hour))
	for _, s := range d.Drain[string]("out") {
		fmt.Println(s)
	}
}

// A visit ends when a user has been away for half an hour.
func ExampleKeyed_Window_session() {
	viewed(visits(window.Session{Gap: 30 * time.Minute}, onClose), 0, 10, 40, 90)
	// Output:
	// ann 12:00-13:10: 3
	// ann 13:30-14:00: 1
}

// The windows of ten minutes that hold different views, both ends included.
func ExampleKeyed_Window_sliding() {
	viewed(visits(window.Sliding{Difference: 10 * time.Minute}, onClose), 0, 4, 12)
	// Output:
	// ann 11:50-12:00: 1
	// ann 11:54-12:04: 2
	// ann 12:00-12:10: 1
	// ann 12:02-12:12: 2
	// ann 12:04-12:14: 1
}

// For each view, how many there were in the ten minutes before it.
func ExampleKeyed_Window_trailing() {
	viewed(visits(window.Trailing{Size: 10 * time.Minute}, onClose), 0, 4, 12)
	// Output:
	// ann 11:50-12:00: 1
	// ann 11:54-12:04: 2
	// ann 12:02-12:12: 2
}

// Every three views of a user, however far apart; what is left after a day of silence is a window too.
func ExampleKeyed_Window_count() {
	viewed(visits(window.Count{Size: 3, TTL: 24 * time.Hour}, onClose), 0, 50, 55, 100)
	// Output:
	// ann 12:00-12:55: 3
	// ann 13:40-13:40: 1
}

// The day so far, by the hour.
func ExampleKeyed_Window_cumulate() {
	viewed(visits(window.Cumulate{Size: 3 * time.Hour, Step: time.Hour}, onClose), 10, 70, 80)
	// Output:
	// ann 12:00-13:00: 1
	// ann 12:00-14:00: 3
	// ann 12:00-15:00: 3
}

// Calendar days in a time zone, here one that is three hours ahead of UTC.
func ExampleKeyed_Window_day() {
	days := window.Day{Location: time.FixedZone("+03", 3*60*60)}
	viewed(visits(days, func(a stream.Aggregated[string, string, int64]) stream.Stream[string] {
		return a.OnClose(func(user string, s window.Span, n int64) string {
			return fmt.Sprintf("%s %s: %d", user, s.Start().In(days.Location).Format(time.DateOnly), n)
		})
	}), 0, 60, 9*60)
	// Output:
	// ann 2024-05-01: 2
	// ann 2024-05-02: 1
}

// How long a session waits is up to each record.
func ExampleKeyed_SessionBy() {
	type ping struct {
		Device string
		Next   int // seconds until the next one, as the device has promised
	}
	topo := stream.New("devices")
	topo.From(source.Kafka("pings", codec.JSON[ping]())).
		KeyBy(func(p ping) string { return p.Device }).
		SessionBy(func(p ping) time.Duration { return time.Duration(p.Next) * time.Second }, 0).
		Count("online").
		OnClose(line).
		To(sink.Kafka("offline", codec.String))

	d := start(topo)
	d.Pipe("pings", noon, ping{"meter", 300})
	d.Pipe("pings", noon.Add(4*time.Minute), ping{"meter", 60})
	d.Pipe("pings", noon.Add(10*time.Minute), ping{"meter", 60})
	d.Advance(noon.Add(time.Hour))
	for _, s := range d.Drain[string]("offline") {
		fmt.Println(s)
	}
	// Output:
	// meter 12:00-12:05: 2
	// meter 12:10-12:11: 1
}

// Early results at a steady pace, and the final one.
func ExampleAggregated_OnUpdateEvery() {
	viewed(visits(window.Tumbling{Size: time.Hour}, func(a stream.Aggregated[string, string, int64]) stream.Stream[string] {
		early := a.OnUpdateEvery(15*time.Minute, func(user string, s window.Span, n int64) string { return "so far: " + line(user, s, n) })
		return early.Merge(a.OnClose(line))
	}), 1, 2, 3, 14, 20, 50)
	// Output:
	// so far: ann 12:00-13:00: 1
	// so far: ann 12:00-13:00: 5
	// so far: ann 12:00-13:00: 6
	// ann 12:00-13:00: 6
}

// An aggregate of sessions says how two of them become one.
func ExampleWindowed_FoldMerge() {
	type click struct{ User, Page string }
	topo := stream.New("paths")
	topo.From(source.Kafka("clicks", codec.JSON[click]())).
		KeyBy(func(c click) string { return c.User }).
		Window(window.Session{Gap: 5 * time.Minute, Grace: 10 * time.Minute}).
		FoldMerge("paths",
			func(path *[]string, c click) { *path = append(*path, c.Page) },
			func(path *[]string, later []string) { *path = append(*path, later...) }).
		OnClose(func(user string, _ window.Span, path []string) string { return fmt.Sprint(user, path) }).
		To(sink.Kafka("paths", codec.String))

	d := start(topo)
	d.Pipe("clicks", noon, click{"ann", "home"})
	d.Pipe("clicks", noon.Add(8*time.Minute), click{"ann", "paid"})
	d.Pipe("clicks", noon.Add(4*time.Minute), click{"ann", "cart"}) // out of order: it makes one session of two
	d.Advance(noon.Add(time.Hour))
	fmt.Println(d.Drain[string]("paths"))
	// Output: [ann[home paid cart]]
}
