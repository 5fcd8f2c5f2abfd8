package kinesis

import (
	"context"
	"time"
)

// Hasty are streams that are subscribed to again soon, whose silence is noticed soon, and whose checkpoints are soon written.
func Hasty(s Streams) Streams {
	s.subscribeEvery, s.silence, s.checkpointEvery = 260*time.Millisecond, time.Second, 50*time.Millisecond
	return s
}

// Failing is InProcess whose checkpoints fail when err says so.
func Failing(err func() error) Leases { return failing{err: err} }

type failing struct {
	InProcess
	err func() error
}

func (f failing) Join(ctx context.Context, m Member) (Membership, error) {
	l, err := f.InProcess.Join(ctx, m)
	return &failingMember{l, f.err}, err
}

type failingMember struct {
	Membership
	err func() error
}

func (f *failingMember) Checkpoint(ctx context.Context, at []Checkpoint) error {
	if err := f.err(); err != nil {
		return err
	}
	return f.Membership.Checkpoint(ctx, at)
}
