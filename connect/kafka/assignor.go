package kafka

import (
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millstream-go/millstream/source"
)

// protocolName is what members of a group must have in common.
const protocolName = "millstream-cooperative-sticky"

// assignor speaks the group protocol for balance, and tells membership what it hears.
type assignor struct{ s *session }

func (assignor) ProtocolName() string { return protocolName }
func (assignor) IsCooperative() bool  { return true }

// JoinGroupMetadata says which topics this member reads and which partitions it still has, from which generation.
func (a assignor) JoinGroupMetadata(topics []string, current map[string][]int32, generation int32) []byte {
	a.s.member.joins(generation)
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Version = 3
	meta.Topics = topics
	meta.Generation = generation
	for _, t := range slices.Sorted(maps.Keys(current)) {
		o := kmsg.NewConsumerMemberMetadataOwnedPartition()
		o.Topic, o.Partitions = t, current[t]
		meta.OwnedPartitions = append(meta.OwnedPartitions, o)
	}
	meta.UserData = a.s.joinData().encode()
	return meta.AppendTo(nil)
}

// ParseSyncAssignment reads what the leader gave to this member. An error makes the client give up all it has, and join
// again with nothing.
func (a assignor) ParseSyncAssignment(assignment []byte) (map[string][]int32, error) {
	parts, err := kgo.ParseConsumerSyncAssignment(assignment)
	if err != nil {
		return nil, err
	}
	if err := a.s.syncs(); err != nil {
		return nil, err
	}
	var all kmsg.ConsumerMemberAssignment
	var t told
	if err := all.ReadFrom(assignment); err == nil {
		t = decodeTold(all.UserData)
	}
	if a.s.app.Static && a.s.member.first() && t.start != a.s.start && !a.s.dropStale(parts, t.moving) {
		a.s.member.nextRound()
		a.s.rebalance()
	}
	a.s.copy(t.follow, t.next)
	return parts, nil
}

// dropStale looks at the first assignment of a static member, if it was made for an earlier session of it. The group hands
// that one out without asking anyone (KIP-345), even if the application reads other topics now. Units that are not
// complete by today's topology are dropped; it returns false if the group should be balanced anew. That is also so if partitions
// were moving: maybe it was for the earlier session to give them up, and to bring the next round about.
func (s *session) dropStale(parts map[string][]int32, moving bool) (fresh bool) {
	fresh = !moving
	group := map[string][]string{}
	for _, g := range s.app.Groups {
		for _, t := range g {
			group[t] = g
		}
		fresh = fresh && slices.ContainsFunc(g, func(t string) bool { return len(parts[t]) > 0 })
	}
	was := maps.Clone(parts)
	for t, ps := range was {
		delete(parts, t)
		for _, i := range ps {
			complete := group[t] != nil && !slices.ContainsFunc(group[t], func(other string) bool {
				return i < s.partitionsOf(other) && !slices.Contains(was[other], i)
			})
			if complete {
				parts[t] = append(parts[t], i)
			} else {
				fresh = false
			}
		}
	}
	return fresh
}

func (s *session) rebalance() {
	s.mu.Lock()
	group := s.group
	s.mu.Unlock()
	if group != nil {
		group.ForceRebalance()
	}
}

func (a assignor) MemberBalancer(members []kmsg.JoinGroupResponseMember) (kgo.GroupMemberBalancer, map[string]struct{}, error) {
	b, err := kgo.NewConsumerBalancer(a, members)
	return b, b.MemberTopics(), err
}

// Balance runs on the group's leader.
func (a assignor) Balance(b *kgo.ConsumerBalancer, counts map[string]int32) kgo.IntoSyncAssignment {
	var members []claim
	b.EachMember(func(m *kmsg.JoinGroupResponseMember, meta *kmsg.ConsumerMemberMetadata) {
		c := claim{id: m.MemberID, generation: meta.Generation, topics: map[string]bool{}}
		for _, t := range meta.Topics {
			c.topics[t] = true
		}
		for _, o := range meta.OwnedPartitions {
			for _, p := range o.Partitions {
				c.owned = append(c.owned, source.Partition{Stream: o.Topic, Index: p})
			}
		}
		data, err := decodeJoinData(meta.UserData)
		if err != nil {
			b.SetError(fmt.Errorf("member %s of group %q: %w", m.MemberID, a.s.app.ID, err))
		}
		c.instance, c.ownAll, c.groups = data.instance, data.ownAll, data.groups
		c.keeps, c.copies, c.standbys, c.zone = data.keeps, data.copies, data.standbys, data.zone
		c.start = data.start
		if m.InstanceID != nil {
			c.instance = *m.InstanceID
		}
		members = append(members, c)
	})
	p := plan{b.NewPlan(), balance(members, counts)}
	for id, to := range p.of {
		m := &kmsg.JoinGroupResponseMember{MemberID: id}
		for _, part := range to.parts {
			p.AddPartition(m, part.Stream, part.Index)
		}
	}
	return p
}

// plan is a plan that says what to copy, too.
type plan struct {
	*kgo.BalancePlan
	of map[string]*given
}

// IntoSyncAssignment implements kgo.IntoSyncAssignment.
func (p plan) IntoSyncAssignment() []kmsg.SyncGroupRequestGroupAssignment {
	list := p.BalancePlan.IntoSyncAssignment()
	for i := range list {
		var m kmsg.ConsumerMemberAssignment
		to := p.of[list[i].MemberID]
		if to == nil || m.ReadFrom(list[i].MemberAssignment) != nil {
			continue
		}
		m.UserData = to.encode()
		list[i].MemberAssignment = m.AppendTo(nil)
	}
	return list
}
