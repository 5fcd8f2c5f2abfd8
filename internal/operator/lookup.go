package operator

import (
	lru "container/list"

	"github.com/millstream-go/millstream/internal/plant"
)

// Answers is how the answers of calls are kept, and shared among the records of a key.
type Answers struct {
	TTL     int64 // how long an answer is good, ms of the wall clock
	MissTTL int64 // the same of one that says that there is nothing
	Size    int   // how many are kept, at most
}

// answers are the newest answers by key: those that were used last, and are good still. They are in memory only.
type answers[K comparable, R any] struct {
	Answers
	miss   func(R) bool
	byKey  map[K]*lru.Element
	recent *lru.List // the one that was used last is in front
}

type found[K comparable, R any] struct {
	key   K
	r     R
	until int64
}

func newAnswers[K comparable, R any](a Answers, miss func(R) bool) *answers[K, R] {
	return &answers[K, R]{Answers: a, miss: miss, byKey: map[K]*lru.Element{}, recent: lru.New()}
}

func (a *answers[K, R]) get(k K, now int64) (r R, ok bool) {
	e := a.byKey[k]
	if e == nil {
		return r, false
	}
	x := e.Value.(*found[K, R])
	if now >= x.until && !plant.Is("lookup") { // planted: an answer is good for ever
		a.drop(e)
		return r, false
	}
	a.recent.MoveToFront(e)
	return x.r, true
}

func (a *answers[K, R]) put(k K, r R, now int64) {
	ttl := a.TTL
	if a.miss(r) {
		ttl = a.MissTTL
	}
	if e := a.byKey[k]; e != nil {
		a.drop(e)
	}
	if ttl <= 0 {
		return
	}
	for len(a.byKey) >= a.Size {
		a.drop(a.recent.Back())
	}
	a.byKey[k] = a.recent.PushFront(&found[K, R]{k, r, now + ttl})
}

func (a *answers[K, R]) drop(e *lru.Element) {
	delete(a.byKey, e.Value.(*found[K, R]).key)
	a.recent.Remove(e)
}
