package kafka

import (
	"encoding/binary"
	"errors"
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
	meta.UserData = userData{a.s.app.Instance, a.s.app.OwnAll, a.s.app.Groups, a.s.member.round()}.encode()
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
	if a.s.app.Static && a.s.member.first() && !a.s.dropStale(parts) {
		a.s.member.nextRound()
		a.s.rebalance()
	}
	return parts, nil
}

// dropStale looks at the first assignment of a static member. The group hands out the one from before the restart
// without asking anyone (KIP-345), even if the application reads other topics now. Units that are not complete by
// today's topology are dropped; it returns false if the group should be balanced anew.
func (s *session) dropStale(parts map[string][]int32) (fresh bool) {
	fresh = true
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
		data, err := decodeUserData(meta.UserData)
		if err != nil {
			b.SetError(fmt.Errorf("member %s of group %q: %w", m.MemberID, a.s.app.ID, err))
		}
		c.instance, c.ownAll, c.groups = data.instance, data.ownAll, data.groups
		if m.InstanceID != nil {
			c.instance = *m.InstanceID
		}
		members = append(members, c)
	})
	plan := b.NewPlan()
	for id, parts := range balance(members, counts) {
		m := &kmsg.JoinGroupResponseMember{MemberID: id}
		for _, p := range parts {
			plan.AddPartition(m, p.Stream, p.Index)
		}
	}
	return plan
}

// userData is what a member adds to the protocol's own fields. Its format begins with a version; fields are only ever
// added at the end, so that members of two releases understand each other while one replaces the other.
type userData struct {
	instance string
	ownAll   bool
	groups   [][]string
	round    uint32 // changes to make the broker rebalance
}

const userDataVersion = 1

func (u userData) encode() []byte {
	b := []byte{userDataVersion, 0}
	if u.ownAll {
		b[1] = 1
	}
	b = binary.AppendUvarint(b, uint64(u.round))
	b = appendString(b, u.instance)
	b = binary.AppendUvarint(b, uint64(len(u.groups)))
	for _, g := range u.groups {
		b = binary.AppendUvarint(b, uint64(len(g)))
		for _, t := range g {
			b = appendString(b, t)
		}
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errUserData = errors.New("its join data is damaged, or it is not a Millstream application: two applications must not share an id")

func decodeUserData(b []byte) (u userData, err error) {
	if len(b) < 2 || b[0] < userDataVersion {
		return u, errUserData
	}
	u.ownAll = b[1] == 1
	b = b[2:]
	number := func() int {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > 1<<31 {
			err = errUserData
			return 0
		}
		b = b[k:]
		return int(n)
	}
	text := func() string {
		n := number()
		if n > len(b) {
			err = errUserData
			return ""
		}
		s := string(b[:n])
		b = b[n:]
		return s
	}
	u.round = uint32(number())
	u.instance = text()
	for range min(number(), len(b)) {
		var g []string
		for range min(number(), len(b)) {
			g = append(g, text())
		}
		if len(g) > 0 {
			u.groups = append(u.groups, g)
		}
	}
	return u, err
}
