package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// action is one thing that is done to the processes.
type action struct {
	kind  kind
	place string // of a kill; "random": at any time
}

type kind uint8

const (
	// kill ends a process with SIGKILL; it starts again at once, on the same state.
	kill kind = iota
	// away is a kill after which the process stays away for longer than its session, so that others take over.
	away
	// zombie stops a process for longer than its session, under load. The one that takes over may be killed while it
	// restores, and so may the zombie when it is back.
	zombie
	// timers stops a process that has nothing to do for longer than its session, while wall-clock timers of its come
	// due: when it goes on, they are all that it has to do, and others have fired them.
	timers
	// leave stops a process in the middle of a commit, waits until others go on with its tasks, and lets one of those
	// leave in its turn, while the transaction of the first is still open.
	leave
)

// random is the place of a kill at any time.
const random = "random"

// inRestore can only be reached while tasks move to a process that has committed before: in zombie.
const inRestore = "in-restore"

// places are the steps of the commit protocol, in the order in which they come.
func places(guarantee string) []string {
	switch guarantee {
	case "at-least-once":
		return []string{"before-produce", "before-flush", "after-flush", "before-positions", "after-apply", inRestore}
	case "at-most-once":
		return []string{"before-produce", "before-flush", "after-flush", "before-outputs", "after-apply", inRestore}
	}
	return []string{"before-produce", "before-flush", "after-flush", "after-toc", "before-end", "after-end", "before-apply", "after-apply", inRestore}
}

// least is how often each place must be hit in a number of kills.
func least(kills int) int {
	switch {
	case kills >= 200:
		return kills / 20
	case kills >= 40:
		return 2 * kills / 40
	}
	return 0
}

// makePlan mixes kills at every place, kills at any time, and zombies. in-restore kills come with the zombies: each has
// room for two.
func makePlan(rng *rand.Rand, guarantee string, kills int) (plan []action, inRestores int) {
	need := least(kills)
	zombies := max(2, (need+1)/2, kills/25)
	inRestores = min(2*zombies, max(need, 1))
	for i := range zombies {
		plan = append(plan, action{kind: zombie})
		switch {
		case i%4 == 3:
			plan = append(plan, action{kind: leave})
		case i%2 == 0:
			plan = append(plan, action{kind: timers})
		}
	}
	left := kills - inRestores
	var placed []action
	all := places(guarantee)
	for len(placed) < left {
		for _, p := range all {
			if p != inRestore {
				placed = append(placed, action{kill, p})
			}
		}
		placed = append(placed, action{kill, random}, action{kill, random})
	}
	placed = placed[:left]
	for i := range placed {
		if placed[i].place == random && rng.IntN(6) == 0 {
			placed[i].kind = away
		}
	}
	plan = append(plan, placed...)
	rng.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })
	return plan, inRestores
}

// plants are the planted bugs, each with what brings it to light.
var plants = map[string][]action{
	"no-transaction":    {{kill, "after-flush"}, {kill, "after-flush"}, {kill, "before-apply"}, {kill, "after-flush"}, {kill, random}},
	"offsets-first":     {{kill, "before-end"}, {kill, "before-end"}, {kill, "before-end"}},
	"unfenced-offsets":  {{kind: zombie}, {kind: zombie}, {kind: zombie}, {kind: zombie}, {kind: zombie}, {kind: zombie}}, // one alone may not find it
	"no-toc-timers":     {{kind: timers}, {kind: timers}, {kind: timers}},
	"early-state":       {{kill, "before-flush"}, {kill, "after-flush"}, {kill, "before-end"}},
	"skip-restore":      {{kill, "before-apply"}, {kill, "before-apply"}, {kill, "after-end"}},
	"lso-as-end":        {{kind: leave}, {kind: leave}, {kind: leave}, {kind: leave}, {kind: leave}}, // one finds it only if the task moves to a process without a copy
	"unchecked-produce": {{kill, random}},
	"window-off-by-one": {{kill, random}},
}

func plantNames() []string {
	var names []string
	for n := range plants {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func checkPlant(name string) error {
	if name != "" && name != "all" && plants[name] == nil {
		return fmt.Errorf("there is no plant %q: use all, or one of %s", name, strings.Join(plantNames(), ", "))
	}
	return nil
}
