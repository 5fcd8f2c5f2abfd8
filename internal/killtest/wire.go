package main

import (
	"time"

	"github.com/millstream-go/millstream/window"
)

// What the topics hold, as JSON. Times are milliseconds since the epoch.

// event is a record of both input topics.
type event struct {
	ID    int64  `json:"id"`
	Key   string `json:"key"`
	Value int64  `json:"v"`
	At    int64  `json:"at"`
	Due   int64  `json:"due,omitempty"` // of an alarm: the wall-clock time at which it is to ring
}

// update is a change of a window: the record Last was added. result is its end.
type update struct {
	Key    string `json:"key"`
	Window int64  `json:"w"`
	Rev    int64  `json:"rev"`
	N      int64  `json:"n"`
	Sum    int64  `json:"sum"`
	Last   int64  `json:"last"`
}

type result struct {
	Key    string `json:"key"`
	Window int64  `json:"w"`
	Rev    int64  `json:"rev"`
	N      int64  `json:"n"`
	Sum    int64  `json:"sum"`
}

// late is a record that came after all its windows had closed.
type late struct {
	ID        int64  `json:"id"`
	Key       string `json:"key"`
	At        int64  `json:"at"`
	End       int64  `json:"end"` // of the last of its windows
	Watermark int64  `json:"wm"`
}

// seen is what the process operator says: of a record, that it was the N-th of its key and whether it set a timer; of
// a timer (ID 0), that it fired.
type seen struct {
	Key   string `json:"key"`
	ID    int64  `json:"id,omitempty"`
	N     int64  `json:"n"`
	Sum   int64  `json:"sum"`
	Set   int64  `json:"set,omitempty"`
	Fired int64  `json:"fired,omitempty"`
}

// count is a change of the table.
type count struct {
	Key string `json:"key"`
	N   int64  `json:"n"`
}

// rung is an alarm whose time has come.
type rung struct {
	Key string `json:"key"`
	Due int64  `json:"due"`
}

// A profile is a kind of input and the topology that suits it.
type profile struct {
	name   string
	window window.Window
	// size, advance and grace are those of window, for the oracle.
	size, advance, grace int64
	bound                time.Duration
	idle                 time.Duration
	stray                int // one record in so many is far behind the others; 0: none
	// totals are the windows of which tasks before a repartition add records up, of the same size and advance. Nothing is
	// ever late for them.
	totals window.Window
}

// In a mixed run partitions fall silent and records come late, so that two right runs can differ in which records they
// call late; the oracle takes that set from the output. In a strict run nothing may be late.
var profiles = map[string]profile{
	"mixed": {"mixed", window.Tumbling{Size: 10 * time.Second, Grace: time.Second}, 10_000, 10_000, 1000, 2 * time.Second, time.Second, 50,
		window.Tumbling{Size: 10 * time.Second, Grace: time.Hour}},
	"strict": {"strict", window.Hopping{Size: 10 * time.Second, Advance: 5 * time.Second}, 10_000, 5_000, 0, 2 * time.Second, 0, 0,
		window.Hopping{Size: 10 * time.Second, Advance: 5 * time.Second}},
}

// bucket is the grid of the process operator's timers.
const bucket = 5000

// The topics of a run, without its prefix.
const (
	topicIn      = "in"
	topicKeyed   = "keyed"
	topicDead    = "dead"
	topicUpdates = "updates"
	topicResults = "results"
	topicTotals  = "totals"
	topicLate    = "late"
	topicSeen    = "seen"
	topicCounts  = "counts"
	topicRung    = "rung"
)

var partitions = map[string]int32{topicIn: 6, topicKeyed: 4, topicDead: 2, topicUpdates: 4, topicResults: 4, topicTotals: 4, topicLate: 2, topicSeen: 4, topicCounts: 4, topicRung: 2}

// repartitions is the number of partitions between the two halves of the topology.
const repartitions = 4
