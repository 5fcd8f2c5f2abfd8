package streamtest

import (
	"fmt"

	"github.com/millstream-go/millstream/source"
)

// follow reads the topics of global tables to their ends. In production that happens beside the tasks, here before they
// take their turns, so that a record is joined with all rows that were piped in before it.
func (d *Driver) follow() error {
	for _, g := range d.prog.Globals {
		for _, p := range d.log.topics[g.Topic].partitions {
			for e := p.at(d.followed[p]); e != nil; e = p.at(d.followed[p]) {
				d.followed[p]++
				if e.advance {
					continue
				}
				r := e.record()
				if err := g.Apply([]source.Record{r}, func(*source.Record, error) {}); err != nil {
					return fmt.Errorf("global table %s: %w", g.Topic, err)
				}
				spoil(&r)
			}
		}
	}
	return nil
}
