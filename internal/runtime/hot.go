package runtime

import (
	"fmt"
	"log/slog"
	"sync"

	"github.com/millstream-go/millstream/internal/task"
)

// hotLog tells of keys that half or more of what comes to an operator have: of each operator once an hour.
type hotLog struct {
	log *slog.Logger
	mu  sync.Mutex
	at  map[string]int64 // when it was told last, in ms since the epoch, by operator
}

const hotAgain = 3_600_000 // ms

func newHotLog(log *slog.Logger) *hotLog { return &hotLog{log: log, at: map[string]int64{}} }

// watch looks at what comes to a task that is not running yet.
func (l *hotLog) watch(t *task.Task) {
	for _, p := range t.Ports {
		if p.Hot != nil {
			p.Hot.Aged = func() {
				for _, k := range p.Hot.Top(1) {
					l.note(t.ID(), t.Operators[p.Op].Name, k, t.Now)
				}
			}
		}
	}
}

func (l *hotLog) note(id, operator string, k task.HotKey, now int64) {
	if k.Share < 0.5 {
		return
	}
	l.mu.Lock()
	last, told := l.at[operator]
	again := !told || now-last >= hotAgain
	if again {
		l.at[operator] = now
	}
	l.mu.Unlock()
	if again {
		l.log.Info("most records of a task have the same key, and are processed one after the other", "task", id, "operator", operator,
			"share", fmt.Sprintf("%.2f", k.Share), "murmur2 of the key", k.Hash)
	}
}
