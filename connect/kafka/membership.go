package kafka

import (
	"fmt"
	"sync"

	"github.com/millstream-go/millstream/source"
)

// membership is what this member may rely on. A commit is fenced by a generation of the group, and the client knows a
// new generation before it knows what it means: whether this member has missed one in between, in which others may have
// had its partitions. So commits use only generations that were checked.
type membership struct {
	mu         sync.Mutex
	id         string // checked member id and generation; "" when there is none
	generation int32
	joined     int32 // the generation that the last join started from
	held       map[source.Partition]bool
	rounds     uint32
	synced     bool
}

// first says whether this is the first generation of the session.
func (m *membership) first() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := !m.synced
	m.synced = true
	return first
}

// joins notes that the client asks to join, having last been part of generation.
func (m *membership) joins(generation int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.joined = generation
}

// syncs checks a generation that the client has just entered.
func (m *membership) syncs(id string, generation int32) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.held) > 0 && (id != m.id || generation != m.joined+1 && generation != m.joined) {
		before := m.generation
		m.id = ""
		return fmt.Errorf("this member was out of the group between generations %d and %d: others may have had its partitions", before, generation)
	}
	m.id, m.generation = id, generation
	return nil
}

// current returns the member id and generation to commit with, if all of parts are still this member's.
func (m *membership) current(parts []source.Partition) (id string, generation int32, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range parts {
		if !m.held[p] {
			return "", -1, false
		}
	}
	return m.id, m.generation, m.id != ""
}

func (m *membership) add(parts []source.Partition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range parts {
		m.held[p] = true
	}
}

func (m *membership) remove(parts []source.Partition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range parts {
		delete(m.held, p)
	}
}

// lose forgets everything: nothing can be committed until the group is joined anew.
func (m *membership) lose() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.id = ""
	clear(m.held)
}

func (m *membership) round() uint32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rounds
}

// nextRound makes this member's join data differ, so that its next join is a rebalance even if it does not lead.
func (m *membership) nextRound() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rounds++
}
