package stream_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/state"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
)

// A shop keeps what is in each customer's cart for an hour of event time, and what was paid for ever.
func ExampleKeyed_ProcessWith() {
	type order struct {
		Item   string
		Number int
	}
	type cart struct {
		items state.Map[string, int]
		total state.Reducing[int]
	}
	topo := stream.New("shop")
	topo.FromKeyed(source.KafkaKeyed("orders", codec.String, codec.JSON[order]())).
		ProcessWith("carts", func(h *stream.Handles[string]) cart {
			return cart{
				items: h.Map("items", state.MapSpec[string, int]{TTL: time.Hour}),
				total: h.Reducing("total", func(sum, n int) int { return sum + n }, state.Spec[int]{}),
			}
		}, func(p *stream.Process[string, cart, string], o order) {
			c := p.State()
			n, _ := c.items.Get(o.Item)
			c.items.Put(o.Item, n+o.Number)
			c.total.Add(o.Number)
			var list []string
			for item, n := range c.items.All() {
				list = append(list, fmt.Sprint(n, " ", item))
			}
			total, _ := c.total.Get()
			p.Emit(fmt.Sprintf("%s: %s; %d in all", p.Key(), strings.Join(list, ", "), total))
		}, nil).To(sink.Kafka("carts", codec.String))

	d := start(topo)
	d.PipeKeyed("orders", "ann", noon, order{"pears", 1}, order{"apples", 2})
	d.PipeKeyed("orders", "bob", noon.Add(2*time.Hour), order{"plums", 7})
	d.PipeKeyed("orders", "ann", noon.Add(2*time.Hour), order{"apples", 1})
	for _, line := range d.Drain[string]("carts") {
		fmt.Println(line)
	}
	// Output:
	// ann: 1 pears; 1 in all
	// ann: 2 apples, 1 pears; 3 in all
	// bob: 7 plums; 7 in all
	// ann: 1 apples; 4 in all
}
