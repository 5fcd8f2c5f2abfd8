package runtime

import (
	"context"
	"log/slog"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/source"
)

// sayEvery is how often a restore that takes long says how far it is.
const sayEvery = 10 * time.Second

// watched is a session whose changelog is read for one task: it notes how far that has come.
type watched struct {
	connect.Session
	progress *progress
	log      *slog.Logger
	task     string
	what     string // is going on, for the log
}

// ReadChangelog implements connect.Session.
func (w watched) ReadChangelog(ctx context.Context, part source.Partition, from source.Position, apply func([]source.Record) error) (source.Position, error) {
	if s, ok := w.Session.(connect.Ender); ok {
		ends, err := s.Ends(ctx, []source.Partition{part})
		if err != nil {
			return from, err
		}
		w.progress.end.Store(ends[part].Offset())
	}
	w.progress.at.Store(from.Offset())
	begin, first := time.Now(), from
	said := begin
	return w.Session.ReadChangelog(ctx, part, from, func(recs []source.Record) error {
		n := 0
		for i := range recs {
			n += len(recs[i].Key) + len(recs[i].Value)
		}
		if err := apply(recs); err != nil {
			return err
		}
		w.progress.records.Add(int64(len(recs)))
		w.progress.bytes.Add(int64(n))
		if len(recs) > 0 {
			w.progress.at.Store(recs[len(recs)-1].Position.Offset() + 1)
		}
		if now := time.Now(); now.Sub(said) >= sayEvery {
			said = now
			w.say(now.Sub(begin), first.Offset())
		}
		return nil
	})
}

func (w watched) say(took time.Duration, from int64) {
	args := []any{"task", w.task, "records", w.progress.records.Load(), "bytes", w.progress.bytes.Load(), "took", took.Round(time.Second)}
	left, known := w.progress.left()
	if done := w.progress.at.Load() - from; known && done > 0 {
		args = append(args, "left", left, "time left", (time.Duration(float64(took) * float64(left) / float64(done))).Round(time.Second))
	}
	w.log.Info(w.what, args...)
}
