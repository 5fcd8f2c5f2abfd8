package kafka

import (
	"context"
	"slices"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/source"
)

// This file is the member's part of what copies.go decides: it says what copies there are, passes on what to copy, and
// asks for another round when it is ready for more.

func (s *session) joinData() joinData {
	d := joinData{instance: s.app.Instance, ownAll: s.app.OwnAll, groups: s.app.Groups, round: s.member.round(),
		keeps: map[string]bool{}, standbys: s.app.Standbys, zone: s.app.Zone, start: s.start}
	k := s.copier()
	if k == nil {
		return d
	}
	for _, t := range s.app.Internal {
		if t.Purpose == connect.Changelog {
			for _, input := range t.Like {
				d.keeps[input] = true
			}
		}
	}
	d.copies = k.Copies()
	return d
}

func (s *session) copier() connect.Copier {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.copies
}

// copy passes on what the leader wants this member to copy.
func (s *session) copy(follow, next []source.Partition) {
	s.mu.Lock()
	k := s.copies
	s.next = next
	s.mu.Unlock()
	if k != nil {
		k.Follow(append(slices.Clone(follow), next...))
	}
}

// How often a member looks whether it is ready for what it is to have, how long those that are ready wait for others that
// are not, and how long it waits before it asks again.
const (
	readyEvery = 250 * time.Millisecond
	readyWait  = 10 * time.Second
	readyAgain = 5 * time.Second
)

// awaitReady makes the group balance anew whenever copies of what this member is to have are near. That is what the
// probing rebalance of KIP-441 is for; the one who knows asks for it here.
func (s *session) awaitReady(ctx context.Context) {
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	var since, asked time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		next, k := s.next, s.copies
		s.mu.Unlock()
		if len(next) == 0 || k == nil {
			since = time.Time{}
			continue
		}
		copies, ready := k.Copies(), 0
		for _, p := range next {
			if s.near(p, copies) {
				ready++
			}
		}
		if ready == 0 {
			continue
		}
		if since.IsZero() {
			since = time.Now()
		}
		if ready < len(next) && time.Since(since) < readyWait || time.Since(asked) < readyAgain {
			continue
		}
		since, asked = time.Time{}, time.Now()
		s.log.Info("copies of the state of tasks that are to move here are near: asking the group to move them", "tasks", ready, "of", len(next))
		s.member.nextRound()
		s.rebalance()
	}
}

// near says that there is a current copy of the state of the tasks that read a partition, or one beside it.
func (s *session) near(p source.Partition, copies map[source.Partition]connect.Copy) bool {
	for _, g := range s.app.Groups {
		if slices.Contains(g, p.Stream) {
			return slices.ContainsFunc(g, func(t string) bool { return copies[source.Partition{Stream: t, Index: p.Index}].Current })
		}
	}
	return copies[p].Current
}
