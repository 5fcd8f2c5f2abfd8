package runtime

import (
	"fmt"

	"github.com/millstream-go/millstream/connect"
)

// aligned says which inputs that are read side by side have unlike numbers of partitions: a key would then be in one
// task by one of them, and in another by the other. counts has the number of partitions of each topic.
func (p *Program) aligned(counts map[string]int32) error {
	for _, sub := range p.Subtopologies {
		if !sub.Aligned {
			continue
		}
		first := sub.Inputs[0]
		for _, in := range sub.Inputs[1:] {
			if a, b := counts[first.Port.Name], counts[in.Port.Name]; a != b {
				return fmt.Errorf("topics %s (declared at %s) and %s (declared at %s) are read side by side by their keys, but have %d and %d partitions, so that equal keys would not meet: "+
					"give both the same number, or read one with From, KeyBy and Repartition: %w", first.Port.Name, first.Opened, in.Port.Name, in.Opened, a, b, connect.ErrStop)
			}
		}
	}
	return nil
}
