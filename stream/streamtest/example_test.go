package streamtest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/stream/streamtest"
	"github.com/millstream-go/millstream/window"
)

// t stands for the *testing.T of a test, which an example does not have.
var t = tb{}

type tb struct{}

func (tb) Helper()                           {}
func (tb) Cleanup(func())                    {}
func (tb) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// A clickstream counted by page and minute.
func clicks() *stream.Topology {
	topo := stream.New("clicks")
	topo.From(source.Kafka("clicks", codec.String)).
		KeyBy(func(page string) string { return page }).
		Window(window.Tumbling{Size: time.Minute}).
		Count("clicks-1m").
		OnClose(func(page string, s window.Span, n int64) string {
			return fmt.Sprintf("%s %s %d", s.Start().Format("15:04"), page, n)
		}).
		To(sink.Kafka("clicks-1m", codec.String))
	return topo
}

func Example() {
	d := streamtest.New(t, clicks())
	at := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	d.Pipe("clicks", at, "home", "cart", "home")
	d.Pipe("clicks", at.Add(time.Minute), "home")
	d.Advance(at.Add(2 * time.Minute))
	for _, line := range d.Drain[string]("clicks-1m") {
		fmt.Println(line)
	}
	// Output:
	// 12:00 cart 1
	// 12:00 home 2
	// 12:01 home 1
}

// A crash between any two steps of a commit does not change the results.
func ExampleDriver_Crash() {
	d := streamtest.New(t, clicks())
	at := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, step := range streamtest.Steps() {
		d.Crash(step)
		d.Pipe("clicks", at, "home")
	}
	d.Advance(at.Add(time.Minute))
	fmt.Println(len(streamtest.Steps()), "clicks:", d.Drain[string]("clicks-1m"))
	// Output: 8 clicks: [12:00 home 8]
}

// One scenario, run in all ways that must make no difference.
func ExampleEveryWay() {
	_ = func(t *testing.T) { // func TestClicks(t *testing.T)
		streamtest.EveryWay(t, clicks, func(t *testing.T, d *streamtest.Driver) {
			at := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
			d.Pipe("clicks", at, "home", "home")
			d.Advance(at.Add(time.Minute))
			if got := d.Drain[string]("clicks-1m"); len(got) != 1 || got[0] != "12:00 home 2" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// Wall-clock time moves by hand, too.
func ExampleDriver_AdvanceWall() {
	topo := stream.New("reminders")
	topo.FromKeyed(source.KafkaKeyed("orders", codec.String, codec.String)).
		Process("open-orders", func(p *stream.Process[string, bool, string], event string) {
			due := p.Time().Add(time.Hour)
			if event == "paid" {
				p.ClearWallTimer(due)
				return
			}
			p.SetWallTimer(due)
		}, func(p *stream.Process[string, bool, string], _ stream.Timer) {
			p.Emit(p.Key() + " is not paid")
		}).
		To(sink.Kafka("reminders", codec.String))

	d := streamtest.New(t, topo)
	at := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	d.PipeKeyed("orders", "o1", at, "placed")
	d.PipeKeyed("orders", "o2", at, "placed", "paid")
	d.Restart()
	d.AdvanceWall(time.Hour)
	fmt.Println(d.Drain[string]("reminders"))
	// Output: [o1 is not paid]
}
