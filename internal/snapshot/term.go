package snapshot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/millstream-go/millstream/internal/store"
	"github.com/millstream-go/millstream/snapshot"
)

// ErrSuperseded: another process has begun a later term.
var ErrSuperseded = errors.New("another process has taken over the state")

// Term is the time for which one process has the state of an application that no system keeps: from when it begins one to
// when another does. Terms are numbered, and each is an object that exists once:
//
//	<prefix><app>/term-<number>    who has begun it
//
// The write that fails if there is one makes sure that no two processes have the same. What a snapshot holds is of the
// term of the process that made it, and a later term comes before an earlier one whatever is in it (task.Age): what a process
// still does after another has begun is never taken for the state. That process is told when it looks, which it does
// every now and then and before each snapshot.
type Term struct {
	Config   snapshot.Config
	App      string
	Instance string
	Store    *store.Store
	Log      *slog.Logger

	number atomic.Uint64
}

// holder is what a term's object says.
type holder struct {
	Instance string    `json:"instance"`
	Began    time.Time `json:"began"`
}

// oldTerms is how many objects of terms are kept, for a person to look at. The newest is what counts.
const oldTerms = 16

// Number is that of this process; 0 until it has begun.
func (t *Term) Number() uint64 { return t.number.Load() }

// Begin begins a term that is later than all there have been, least among them: the one that the local store knows.
func (t *Term) Begin(ctx context.Context, least uint64, now time.Time) error {
	for {
		known, err := t.list(ctx)
		if err != nil {
			return err
		}
		n := least + 1
		for number := range known {
			n = max(n, number+1)
		}
		body, err := json.Marshal(holder{t.Instance, now.UTC()})
		if err != nil {
			return fmt.Errorf("begin a term: %w", err)
		}
		file := t.Store.Seal(body)
		err = t.Config.Store.Create(ctx, t.name(n), bytes.NewReader(file), int64(len(file)))
		if errors.Is(err, snapshot.ErrExists) {
			least = n // another process came first
			continue
		}
		if err != nil {
			return fmt.Errorf("begin a term: %w", err)
		}
		t.number.Store(n)
		for number, name := range known {
			if number+oldTerms < n {
				if err := t.Config.Store.Delete(ctx, name); err != nil {
					t.Log.Warn("an old term is not deleted; tried again at the next start", "term", name, "err", err)
				}
			}
		}
		return t.Check(ctx)
	}
}

// Check returns ErrSuperseded if another process has begun a later term.
func (t *Term) Check(ctx context.Context) error {
	known, err := t.list(ctx)
	if err != nil {
		return err
	}
	own, last := t.Number(), uint64(0)
	for n := range known {
		last = max(last, n)
	}
	if last <= own {
		return nil
	}
	return fmt.Errorf("%w: %s of application %s began term %d, and this one, %s, has term %d: one of the two must not run",
		ErrSuperseded, t.who(ctx, known[last]), t.App, last, t.Instance, own)
}

// who names the process that has begun a term.
func (t *Term) who(ctx context.Context, name string) string {
	h, err := t.holder(ctx, name)
	if err != nil {
		return fmt.Sprintf("an unknown instance (%v)", err)
	}
	return fmt.Sprintf("instance %s, at %v,", h.Instance, h.Began)
}

func (t *Term) holder(ctx context.Context, name string) (h holder, err error) {
	r, err := t.Config.Store.Open(ctx, name)
	if err != nil {
		return h, err
	}
	file, err := io.ReadAll(io.LimitReader(r, maxManifest))
	if err = errors.Join(err, r.Close()); err != nil {
		return h, err
	}
	body, err := t.Store.Unseal(file)
	if err != nil {
		return h, err
	}
	return h, json.Unmarshal(body, &h)
}

func (t *Term) prefix() string { return t.Config.Prefix + t.App + "/term-" }

func (t *Term) name(n uint64) string { return fmt.Sprintf("%s%020d", t.prefix(), n) }

// list returns the names of the terms that there are, by number.
func (t *Term) list(ctx context.Context) (map[uint64]string, error) {
	objects, err := t.Config.Store.List(ctx, t.prefix())
	if err != nil {
		return nil, fmt.Errorf("look who has the state: %w", err)
	}
	known := map[uint64]string{}
	for _, o := range objects {
		if n, err := strconv.ParseUint(strings.TrimPrefix(o.Name, t.prefix()), 10, 64); err == nil {
			known[n] = o.Name
		}
	}
	return known, nil
}
