package operator

import (
	"strconv"

	"github.com/millstream-go/millstream/internal/task"
)

// MapWithID applies f, with an id of the value: topic/partition/position/n, of the record that was read, and how many values of that
// record came here before this one. Whenever the record is read again it is the same, as long as all that lies between depends on
// the record alone.
func MapWithID[V, W any](op int32, f func(id string, v V) W, next task.Fn[W]) task.Fn[V] {
	var port *task.Port
	var turn uint64 // of the port
	n := uint64(0)
	return func(c *task.Ctx, v V) {
		c.Enter(op)
		if p := c.Port; p != port || p.Handed() != turn {
			port, turn, n = p, p.Handed(), 0
		}
		b := make([]byte, 0, 96)
		b = append(append(b, port.Part.Stream...), '/')
		b = append(strconv.AppendInt(b, int64(port.Part.Index), 10), '/')
		b = append(append(b, port.At().String()...), '/')
		w := f(string(strconv.AppendUint(b, n, 10)), v)
		n++
		c.Pass(op)
		next(c, w)
	}
}
