package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The state in the end. A changelog is read as a reader of committed records sees it, and for each key the newest value
// counts: what a process would restore. The format of keys and values (docs: kind, number of the store, key group,
// key; revision, time, state) is decoded here once more.

const (
	kindValue  = 0x01
	kindWindow = 0x02
	kindTimer  = 0x03
	kindCodecs = 0x0d
	kindMarker = 0x10
	kindPane   = 0x14
)

func storeID(name string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(name))
	return h.Sum32()
}

func (o *oracle) state(ctx context.Context, c *cluster) error {
	topics, err := c.topics(ctx)
	if err != nil {
		return err
	}
	state := map[string][]byte{}
	for _, t := range topics.Names() {
		if !bytes.HasPrefix([]byte(t), []byte(c.prefix+"-")) || !bytes.HasSuffix([]byte(t), []byte("-changelog")) {
			continue
		}
		parts, err := c.read(ctx, t)
		if err != nil {
			return err
		}
		for _, recs := range parts {
			o.fold(state, recs)
		}
	}
	o.compare(state)
	return nil
}

// fold keeps the newest value of each key. A key is in one partition only, as markers are not looked at.
func (o *oracle) fold(state map[string][]byte, recs []*kgo.Record) {
	for _, r := range recs {
		switch {
		case len(r.Key) > 0 && r.Key[0] == kindMarker:
		case r.Value == nil:
			delete(state, string(r.Key))
		default:
			state[string(r.Key)] = r.Value
		}
	}
}

func (o *oracle) compare(state map[string][]byte) {
	counts, tallies := map[string]int64{}, map[string]tally{}
	named := map[uint32]bool{}
	for _, name := range []string{"windows", "totals", "seen", "counts", "alarms"} {
		named[storeID(name)] = true
	}
	for key, value := range state {
		if len(key) < 7 {
			o.wrong("changelog entry %x", key)
			continue
		}
		store, user := binary.BigEndian.Uint32([]byte(key[1:5])), key[7:]
		switch {
		case key[0] == kindTimer && len(user) > 9:
			at := int64(binary.BigEndian.Uint64([]byte(user[1:9])) ^ 1<<63)
			if at < final {
				o.wrong("timer %d of key %s is still in the state", at, user[9:])
			}
		case (key[0] == kindWindow || key[0] == kindPane) && len(user) > 8:
			at := int64(binary.BigEndian.Uint64([]byte(user[:8])) ^ 1<<63)
			if at < final {
				o.wrong("window %d of key %s is still in the state", at, user[8:])
			}
		case key[0] == kindValue && store == storeID("counts"):
			counts[user] = int64(binary.BigEndian.Uint64(body(value, 8)))
		case key[0] == kindValue && store == storeID("seen"):
			var t tally
			if err := json.Unmarshal(body(value, 0), &t); err != nil {
				o.wrong("state of key %s: %v", user, err)
			}
			tallies[user] = t
		case key[0] == kindCodecs && user == "" && named[store]: // what the store was written with: a version, the keys' codec, the values'
			if !bytes.HasPrefix(value, []byte("\x01\x06string")) {
				o.wrong("store %x says that it was written with %q", store, value)
			}
		default:
			o.wrong("entry %x of %d bytes should not be in the state any more", key, len(value))
		}
	}
	same(o, "counts", counts, o.keyed)
	want := map[string]tally{}
	for k, t := range o.tally {
		want[k] = *t
	}
	same(o, "seen", tallies, want)
}

// body is a value without its revision and time; at least n bytes.
func body(b []byte, n int) []byte {
	for range 2 {
		_, k := binary.Uvarint(b)
		b = b[max(k, 0):]
	}
	if len(b) < n {
		return make([]byte, n)
	}
	return b
}

func same[V comparable](o *oracle, store string, have, want map[string]V) {
	for k, w := range want {
		if h, ok := have[k]; !ok || h != w {
			o.wrong("state %s of key %s is %s, it should be %s", store, k, fmt.Sprint(h), fmt.Sprint(w))
		}
	}
	for k, h := range have {
		if _, ok := want[k]; !ok {
			o.wrong("state %s has the key %s (%v), which is not in the input", store, k, h)
		}
	}
}
