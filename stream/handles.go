package stream

import (
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/millstream-go/millstream/internal/operator"
	"github.com/millstream-go/millstream/internal/plan"
	"github.com/millstream-go/millstream/internal/task"
	"github.com/millstream-go/millstream/state"
	"github.com/millstream-go/millstream/stream/codec"
)

// Handles declares the state handles of a ProcessWith. Each has a name of its own, which lasts: it is part of the state's.
type Handles[K comparable] struct {
	t    *Topology
	n    *plan.Node
	keys codec.Codec[K]
	// names are those that have been declared. In a task they must be those of the topology.
	names []string
	// task is what the handles are made for; nil while the topology is declared.
	task  *task.Task
	op    int32
	clock *task.Clock
	at    func() (K, *task.Ctx)
	clear []func()
}

// ProcessWith is Process with any number of state handles in the place of the one value: declare makes them, usually as the
// fields of a struct, of which Process.State then returns a pointer.
//
//	orders.ProcessWith("carts", func(h *stream.Handles[string]) cart {
//		return cart{items: h.Map("items", state.MapSpec[string, int]{TTL: 24 * time.Hour})}
//	}, func(p *stream.Process[string, cart, string], o Order) {
//		p.State().items.Put(o.Item, o.Number)
//	}, nil)
//
// declare is called when the topology is declared, and for each task again; it must do the same every time, and nothing
// but declare. Process.Get returns what State does, and always true; Process.Clear clears all handles of the key.
func (s Keyed[K, V]) ProcessWith[H, R any](store string, declare func(h *Handles[K]) H, onRecord func(p *Process[K, H, R], v V), onTimer func(p *Process[K, H, R], t Timer)) Stream[R] {
	s = s.partitioned(store)
	n := &node[R]{n: s.add("process", store, "", typeName[R]())}
	s.t.function(n.n, onRecord == nil)
	n.n.Store = &plan.Store{Name: store, Kind: "process", Key: s.keys.Name()}
	declared := &Handles[K]{t: s.t, n: n.n, keys: s.keys}
	switch {
	case declare == nil:
		s.t.graph.Errorf(n.n, "the function that declares its handles is nil: give it one, or use Process")
		return Stream[R]{t: s.t, node: n}
	default:
		declare(declared)
	}
	if len(declared.names) == 0 {
		s.t.graph.Errorf(n.n, "it declares no handle: declare one, or use Process")
	}
	processed(s, n, codec.Codec[struct{}](none{}), onRecord, onTimer, func(b *compiler, o *operator.Process[K, V, struct{}]) processor[K, H] {
		h := &Handles[K]{keys: s.keys, n: n.n, task: b.task, op: b.op(n.n), clock: b.clock(n.n), at: o.At}
		return &handled[K, V, H]{o, makeHandles(h, declare, declared.names), h}
	})
	return Stream[R]{t: s.t, node: n}
}

// makeHandles makes the handles for a task.
func makeHandles[K comparable, H any](h *Handles[K], declare func(*Handles[K]) H, names []string) (handles H) {
	defer func() {
		if v := recover(); v != nil {
			h.task.Fail(fmt.Errorf("operator %s (declared at %s): declare its handles: %w", h.n.Name, h.n.Site, &task.PanicError{Value: v, Stack: debug.Stack()}))
		}
	}()
	handles = declare(h)
	if !slices.Equal(h.names, names) {
		h.task.Fail(fmt.Errorf("operator %s (declared at %s): its handles were %q in the topology, and are %q in a task: the function that declares them must do the same every time", h.n.Name, h.n.Site, names, h.names))
	}
	return handles
}

// handled is a processor whose state is a set of handles.
type handled[K comparable, V, H any] struct {
	process *operator.Process[K, V, struct{}]
	state   H
	h       *Handles[K]
}

func (p *handled[K, V, H]) At() (K, *task.Ctx)                { return p.process.At() }
func (p *handled[K, V, H]) Watermark() int64                  { return p.process.Watermark() }
func (p *handled[K, V, H]) SetTimer(at int64, wall, set bool) { p.process.SetTimer(at, wall, set) }
func (p *handled[K, V, H]) Get() (H, bool)                    { return p.state, true }
func (p *handled[K, V, H]) State() *H                         { return &p.state }
func (p *handled[K, V, H]) Clear() {
	for _, clear := range p.h.clear {
		clear()
	}
}

// Value declares one value per key.
func (h *Handles[K]) Value[V any](name string, spec state.Spec[V]) state.Value[V] {
	return declared(h, name, "value", spec, nil, func(s operator.CellsSpec[K, struct{}, V]) operator.ValueHandle[K, V] {
		return operator.NewValueHandle(h.task, h.clock, s, nil)
	})
}

// Reducing declares one value per key that others are added to: reduce makes the new value of what has come together and
// what is added.
func (h *Handles[K]) Reducing[V any](name string, reduce func(sum, v V) V, spec state.Spec[V]) state.Reducing[V] {
	if h.task == nil && reduce == nil {
		h.t.graph.Errorf(h.n, "the function of its handle %q is nil: give it one", name)
	}
	return declared(h, name, "reducing", spec, nil, func(s operator.CellsSpec[K, struct{}, V]) operator.ValueHandle[K, V] {
		return operator.NewValueHandle(h.task, h.clock, s, reduce)
	})
}

// List declares a list per key.
func (h *Handles[K]) List[V any](name string, spec state.Spec[V]) state.List[V] {
	return declared(h, name, "list", spec, nil, func(s operator.CellsSpec[K, uint64, V]) *operator.ListHandle[K, V] {
		return operator.NewListHandle(h.task, h.clock, s)
	})
}

// Map declares a map per key.
func (h *Handles[K]) Map[S comparable, V any](name string, spec state.MapSpec[S, V]) state.Map[S, V] {
	subs := spec.Keys
	if subs == nil {
		var err error
		if subs, err = codec.Sorted[S](); err != nil && h.task == nil {
			h.t.graph.Errorf(h.n, "its handle %q: %v", name, err)
			subs = codec.JSON[S]()
		}
	}
	return declared(h, name, "map", state.Spec[V]{TTL: spec.TTL, Codec: spec.Codec}, subs, func(s operator.CellsSpec[K, S, V]) operator.MapHandle[K, S, V] {
		return operator.NewMapHandle(h.task, h.clock, s)
	})
}

// Window declares values per window. The TTL is needed: it says when a window's value is removed.
func (h *Handles[K]) Window[V any](name string, spec state.Spec[V]) state.Window[V] {
	h.needsTTL(name, spec.TTL, "for how long after its start a window is kept")
	return declared(h, name, "values per window", spec, nil, func(s operator.CellsSpec[K, int64, V]) operator.WindowHandle[K, V] {
		return operator.NewWindowHandle(h.task, h.clock, s)
	})
}

// Versioned declares a value with versions. The TTL is needed: it says for how long old versions are kept.
func (h *Handles[K]) Versioned[V any](name string, spec state.Spec[V]) state.Versioned[V] {
	h.needsTTL(name, spec.TTL, "for how long behind the watermark one can ask what the value was")
	return declared(h, name, "versioned value", spec, nil, func(s operator.CellsSpec[K, int64, V]) operator.VersionedHandle[K, V] {
		return operator.NewVersionedHandle(h.task, h.clock, s)
	})
}

func (h *Handles[K]) needsTTL(name string, ttl time.Duration, what string) {
	if h.task == nil && ttl == 0 {
		h.t.graph.Errorf(h.n, "its handle %q has no TTL: set it, it says %s", name, what)
	}
}

// declared notes a handle in the topology, or makes it in a task.
func declared[K, S comparable, V any, X interface{ Clear() }](h *Handles[K], name, kind string, spec state.Spec[V], subs codec.Codec[S], build func(operator.CellsSpec[K, S, V]) X) (made X) {
	h.names = append(h.names, name)
	store := h.n.Name + "/" + name
	if h.task == nil {
		var named []codec.Codec[V]
		if spec.Codec != nil {
			named = append(named, spec.Codec)
		}
		vals := defaultCodec(h.t, h.n, named)
		info := &plan.Store{Name: store, Kind: kind, Key: h.keys.Name(), Value: vals.Name(), Evolves: true}
		if subs != nil {
			info.Key += ", " + subs.Name()
		}
		if spec.TTL < 0 || spec.TTL%time.Millisecond != 0 {
			h.t.graph.Errorf(h.n, "the TTL of its handle %q is %v: use 0 or more, in whole milliseconds", name, spec.TTL)
		}
		h.n.Handles = append(h.n.Handles, info)
		return made
	}
	vals := spec.Codec
	if vals == nil {
		vals, _ = codec.Default[V]() // the topology has no error
	}
	made = build(operator.CellsSpec[K, S, V]{Op: h.op, Store: store, Keys: h.keys, Subs: subs, Vals: vals, TTL: spec.TTL.Milliseconds(), At: h.at})
	h.clear = append(h.clear, made.Clear)
	return made
}

// none is the codec of the value that a ProcessWith does not have.
type none struct{}

func (none) Name() string                                { return "" }
func (none) Append(b []byte, _ struct{}) ([]byte, error) { return b, nil }
func (none) Decode([]byte) (struct{}, error)             { return struct{}{}, nil }
