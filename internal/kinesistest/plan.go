package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// action is one thing that is done.
type action struct {
	kind  kind
	role  string // of a kill
	place string // of a kill; random: at any time
	disk  bool   // the killed process loses its disk, too
}

type kind uint8

const (
	kill    kind = iota // ends a process with SIGKILL; it starts again at once
	freeze              // stops one that shares shards for longer than its leases last
	reshard             // splits or merges shards of the input
	reshape             // the same with those that the counting process reads
)

const random = "random"

// places are the steps of a commit, in the order in which they come.
var places = map[string][]string{
	roleRefine: {"before-produce", "before-flush", "before-positions", "before-checkpoint", "after-checkpoint", "after-apply"},
	roleCount:  {"before-produce", "before-flush", "before-positions", "after-apply"},
}

// makePlan mixes kills at every place and at any time with reshards. Every fourth kill is of the process that counts, which
// loses its disk every second time; a freeze comes with every tenth.
func makePlan(rng *rand.Rand, kills, reshards int) (plan []action) {
	next := map[string]int{}
	for i := range kills {
		a := action{kind: kill, role: roleRefine, place: random}
		if i%4 == 3 {
			a.role, a.disk = roleCount, i%8 == 7
		}
		if n := next[a.role]; n%3 != 2 {
			list := places[a.role]
			a.place = list[(n-n/3)%len(list)]
		}
		next[a.role]++
		plan = append(plan, a)
		if i%10 == 9 {
			plan = append(plan, action{kind: freeze})
		}
	}
	for i := range reshards {
		plan = append(plan, action{kind: reshard})
		if i%3 == 2 {
			plan = append(plan, action{kind: reshape})
		}
	}
	rng.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })
	return plan
}

// plant is a planted mistake and what brings it to light.
type plant struct {
	args []string // of the processes
	plan []action
}

// plants are the planted mistakes. Those without arguments are builds with a tag.
var plants = map[string]plant{
	"children-first":   {plan: repeat(6, action{kind: kill, role: roleRefine, place: random}, action{kind: reshard})},
	"checkpoint-first": {plan: repeat(3, action{kind: kill, role: roleRefine, place: "after-checkpoint"})},
	"no-dedup":         {args: []string{"-dedup=false"}, plan: repeat(2, action{kind: kill, role: roleRefine, place: random})},
	"unordered-writes": {args: []string{"-unordered"}, plan: repeat(4, action{kind: kill, role: roleRefine, place: random})},
}

func repeat(n int, some ...action) (plan []action) {
	for range n {
		plan = append(plan, some...)
	}
	return plan
}

// plantOrder is the order in which they run.
var plantOrder = []string{"children-first", "checkpoint-first", "no-dedup", "unordered-writes"}

func checkPlant(name string) error {
	if _, ok := plants[name]; name != "" && name != "all" && !ok {
		return fmt.Errorf("there is no plant %q: use all, or one of %s", name, strings.Join(plantOrder, ", "))
	}
	return nil
}
