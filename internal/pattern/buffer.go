package pattern

// buffer has the events that runs have taken, and their paths. A path is known by its last node, which points to the one
// before; paths that begin alike share the nodes of that beginning. Nodes and events count who points to them, and go
// with the last one.
type buffer[V any] struct {
	events     []event[V]
	nodes      []node
	freeEvents []int32
	freeNodes  []int32
}

type event[V any] struct {
	number uint64 // of the key's events that were taken, in the order of time
	time   int64
	value  V
	refs   int32
}

// node is an event that a step has taken, after the path that ends at prior.
type node struct {
	event, prior, step int32
	refs               int32
}

// put adds an event, and holds it until drop.
func (b *buffer[V]) put(time int64, number uint64, v V) (i int32) {
	e := event[V]{number, time, v, 1}
	if n := len(b.freeEvents); n > 0 {
		i = b.freeEvents[n-1]
		b.freeEvents = b.freeEvents[:n-1]
		b.events[i] = e
		return i
	}
	b.events = append(b.events, e)
	return int32(len(b.events) - 1)
}

// drop lets an event go.
func (b *buffer[V]) drop(i int32) {
	if b.events[i].refs--; b.events[i].refs > 0 {
		return
	}
	b.events[i] = event[V]{}
	b.freeEvents = append(b.freeEvents, i)
	if len(b.freeEvents) == len(b.events) { // nothing refers to a place
		b.events, b.freeEvents = b.events[:0], b.freeEvents[:0]
	}
}

// extend makes the path that is one event longer, and holds it.
func (b *buffer[V]) extend(prior, event, step int32) (i int32) {
	b.hold(prior)
	b.events[event].refs++
	n := node{event, prior, step, 1}
	if k := len(b.freeNodes); k > 0 {
		i = b.freeNodes[k-1]
		b.freeNodes = b.freeNodes[:k-1]
		b.nodes[i] = n
		return i
	}
	b.nodes = append(b.nodes, n)
	return int32(len(b.nodes) - 1)
}

// hold holds a path.
func (b *buffer[V]) hold(i int32) {
	if i >= 0 {
		b.nodes[i].refs++
	}
}

// release lets a path go.
func (b *buffer[V]) release(i int32) {
	for i >= 0 {
		n := &b.nodes[i]
		if n.refs--; n.refs > 0 {
			return
		}
		prior, event := n.prior, n.event
		*n = node{}
		b.freeNodes = append(b.freeNodes, i)
		if len(b.freeNodes) == len(b.nodes) {
			b.nodes, b.freeNodes = b.nodes[:0], b.freeNodes[:0]
		}
		b.drop(event)
		i = prior
	}
}
