package lease

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// edit is a change of a row together with the condition under which it is made. Every change of a lease has one, over the
// owner and the counter that the writer knows: a writer that was overtaken changes nothing. Attributes that are not named
// keep their values, so that what other programs keep in a row stays there.
type edit struct {
	names       map[string]string
	values      item
	set, remove []string
	when        []string
}

func (e *edit) name(n string) string {
	if e.names == nil {
		e.names, e.values = map[string]string{}, item{}
	}
	e.names["#"+n] = n
	return "#" + n
}

func (e *edit) value(v types.AttributeValue) string {
	k := fmt.Sprintf(":v%d", len(e.values))
	e.values[k] = v
	return k
}

func (e *edit) put(name string, v types.AttributeValue) {
	n := e.name(name)
	e.set = append(e.set, n+" = "+e.value(v))
}

func (e *edit) drop(names ...string) {
	for _, n := range names {
		e.remove = append(e.remove, e.name(n))
	}
}

func (e *edit) is(name string, v types.AttributeValue) string {
	n := e.name(name)
	return n + " = " + e.value(v)
}

func (e *edit) absent(name string) string { return "attribute_not_exists(" + e.name(name) + ")" }

func (e *edit) require(conditions ...string) { e.when = append(e.when, conditions...) }

func (e *edit) condition() string { return strings.Join(e.when, " AND ") }

func (e *edit) update() string {
	var parts []string
	if len(e.set) > 0 {
		parts = append(parts, "SET "+strings.Join(e.set, ", "))
	}
	if len(e.remove) > 0 {
		parts = append(parts, "REMOVE "+strings.Join(e.remove, ", "))
	}
	return strings.Join(parts, " ")
}

// by requires that the lease is as its holder knows it, and raises the counter. That it is being handed over changes
// nothing for the holder.
func by(me string, r row) *edit {
	e := &edit{}
	e.put(attrCounter, integer(r.counter+1))
	e.require(e.is(attrCounter, integer(r.counter)),
		"("+e.is(attrHolder, text(me))+" OR ("+e.absent(attrHolder)+" AND "+e.is(attrOwner, text(me))+"))")
	return e
}

// as requires that the lease is assigned as in a row that was read.
func as(r row) *edit {
	e := &edit{}
	for name, v := range map[string]string{attrOwner: r.owner, attrHolder: r.holder} {
		if v == "" {
			e.require(e.absent(name))
		} else {
			e.require(e.is(name, text(v)))
		}
	}
	return e
}

// renew keeps a lease, or begins a term of one that was assigned to this instance.
func renew(me string, r row) *edit {
	e := by(me, r)
	if r.load > 0 {
		e.put(attrLoad, &types.AttributeValueMemberN{Value: strconv.FormatFloat(math.Ceil(r.load*1000)/1000, 'f', -1, 64)})
	}
	return e
}

// checkpointed writes how far a shard was processed, at its end with the shards that follow it.
func checkpointed(me string, r row, m mark, children []string) *edit {
	e := by(me, r)
	e.put(attrCheckpoint, text(m.checkpoint))
	e.put(attrSub, integer(m.sub))
	e.put(attrSwitches, integer(0))
	e.drop(attrPending, attrPendingSub, attrPendingData)
	if len(children) > 0 {
		e.put(attrChildren, &types.AttributeValueMemberSS{Value: children})
	}
	if m.since > 0 {
		e.put(attrSince, integer(m.since))
	} else {
		e.drop(attrSince)
	}
	return e
}

// released gives a lease up: to whom it is being handed over, or to anybody.
func released(me string, r row) *edit {
	e := by(me, r)
	if r.holder == me {
		e.require(e.is(attrHolder, text(me)))
		e.drop(attrHolder)
	} else {
		e.require(e.absent(attrHolder)) // otherwise it was asked for meanwhile, and the owner is the next one
		e.drop(attrOwner)
	}
	return e
}

// assigned gives a lease that nobody has, or that has expired, to an instance. Its holder, if it still lives, is fenced.
func assigned(r row, to string) *edit {
	e := as(r)
	e.require(e.is(attrCounter, integer(r.counter)))
	e.put(attrCounter, integer(r.counter+1))
	e.put(attrOwner, text(to))
	e.drop(attrHolder)
	if before := r.has(); before != "" && before != to {
		e.put(attrSwitches, integer(r.switches+1))
	}
	return e
}

// asked asks a lease's owner to hand it over. The counter stays, so that the owner goes on renewing meanwhile.
func asked(r row, to string) *edit {
	e := as(r)
	e.put(attrOwner, text(to))
	e.put(attrHolder, text(r.owner))
	return e
}
