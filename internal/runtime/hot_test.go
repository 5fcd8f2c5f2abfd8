package runtime

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/internal/task"
)

// A key that most records have is logged by its hash, once an hour for each operator, whatever number of tasks has one. One that
// is not frequent is not.
func TestHotKeysAreLogged(t *testing.T) {
	var out bytes.Buffer
	log := newHotLog(slog.New(slog.NewTextHandler(&out, nil)))
	lines := func() int { defer out.Reset(); return strings.Count(out.String(), "msg=") }
	read := func(tasks []*task.Task, op int, every int) {
		for i := range 200_000 {
			key := []byte("customer-4711")
			if i%every != 0 {
				key = fmt.Appendf(nil, "customer-%d", i)
			}
			for _, k := range tasks {
				k.Ports[op].Hot.See(key)
			}
		}
	}
	var tasks []*task.Task
	for i := range int32(2) {
		ports := []*task.Port{{Spec: &task.PortSpec{}, Hot: &task.HotKeys{}}, {Spec: &task.PortSpec{}, Hot: &task.HotKeys{}, Op: 1}, {Spec: &task.PortSpec{}}}
		k := task.New(&task.Spec{Subtopology: "s"}, i, ports, nil, nil)
		k.AddOperator("orders", "")
		k.AddOperator("payments", "")
		k.Now = 1
		log.watch(k)
		tasks = append(tasks, k)
	}
	read(tasks, 0, 3)
	assert.Zero(t, lines(), "a third of the records")
	read(tasks, 0, 1)
	text := out.String()
	require.Equal(t, 1, lines())
	assert.Contains(t, text, fmt.Sprintf(`"murmur2 of the key"=%d`, task.Murmur2([]byte("customer-4711"))))
	assert.Contains(t, text, "operator=orders")
	assert.NotContains(t, text, "customer", "a key may be personal data")
	read(tasks, 1, 1)
	assert.Equal(t, 1, lines(), "another operator")
	read(tasks, 0, 1)
	assert.Zero(t, lines(), "within the hour")
	tasks[0].Now = 1 + 3_600_000
	read(tasks, 0, 1)
	assert.Equal(t, 1, lines(), "an hour later")
}
