package window

import (
	"errors"
	"time"
)

// Session windows are made by the records of a key themselves: those that are no further than Gap from one another
// are in one session. It reaches from its first record to Gap after its last one, [first, last+Gap), and is closed
// when the watermark has reached that end and the grace period.
//
// A record makes a session of its own, [t, t+Gap), and merges it with all sessions that it touches; two records at a
// distance of just Gap are in one session. A closed session is final and merges with nothing. Since sessions merge, so
// must their aggregates: Count and Reduce know how, Fold needs to be a FoldMerge.
type Session struct {
	Gap time.Duration
	// Grace is how long after a session's end late records may still extend it. OnClose waits for it.
	Grace time.Duration
	// Retention is how long a session, also a closed one, is kept behind the newest, under stream.KafkaStreamsSemantics: a
	// closed session that is kept can be merged there. Zero is Gap + Grace. It has no meaning otherwise.
	Retention time.Duration
}

// Check implements Window.
func (w Session) Check() error {
	return errors.Join(positive("Gap", w.Gap), notNegative("Grace", w.Grace))
}

func (w Session) String() string { return "session " + w.Gap.String() }
