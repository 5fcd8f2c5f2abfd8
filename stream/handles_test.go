package stream_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/state"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/streamtest"
)

// box has a handle of each kind.
type box struct {
	v state.Value[string]
	r state.Reducing[string]
	l state.List[string]
	m state.Map[int, string]
	w state.Window[string]
	h state.Versioned[string]
}

// do runs "put|x", "add|x", "append|x", "set|3|x", "delete|3", "drop" (those with a 1 in the map while it is gone through),
// "window|5|x", "nowindow|5", "version|5|x", or "clear", "clearvalue", "clearsum", "clearlist", "clearmap", "clearwindows",
// "clearversions". Anything else does nothing.
func (b *box) do(op string, clear func()) {
	name, rest, _ := strings.Cut(op, "|")
	arg, x, _ := strings.Cut(rest, "|")
	n, _ := strconv.Atoi(arg)
	switch name {
	case "put":
		b.v.Put(arg)
	case "add":
		b.r.Add(arg)
	case "append":
		b.l.Append(arg)
	case "set":
		b.m.Put(n, x)
	case "delete":
		b.m.Delete(n)
	case "drop":
		for s, v := range b.m.All() {
			if strings.Contains(v, "1") {
				b.m.Delete(s)
			}
		}
	case "window":
		b.w.Put(ms(int64(n)), x)
	case "nowindow":
		b.w.Delete(ms(int64(n)))
	case "version":
		b.h.Put(ms(int64(n)), x)
	case "clear":
		clear()
	case "clearvalue":
		b.v.Clear()
	case "clearsum":
		b.r.Clear()
	case "clearlist":
		b.l.Clear()
	case "clearmap":
		b.m.Clear()
	case "clearwindows":
		b.w.Clear()
	case "clearversions":
		b.h.Clear()
	}
}

// moments are the times at which versions are asked for, and between which windows are.
var moments = []int64{-10, 0, 5, 20, 50, 90}

// String is all there is.
func (b *box) String() string {
	var s strings.Builder
	if v, ok := b.v.Get(); ok {
		fmt.Fprintf(&s, "v=%s ", v)
	}
	if v, ok := b.r.Get(); ok {
		fmt.Fprintf(&s, "r=%s ", v)
	}
	for v := range b.l.All() {
		fmt.Fprintf(&s, "l=%s ", v)
	}
	for k, v := range b.m.All() {
		got, ok := b.m.Get(k)
		fmt.Fprintf(&s, "m%d=%s ", k, v)
		if got != v || !ok {
			fmt.Fprintf(&s, "but %s ", got)
		}
	}
	for k, v := range b.m.Range(-1, 100) {
		fmt.Fprintf(&s, "range%d=%s ", k, v)
		break
	}
	for k, v := range b.w.Range(ms(moments[1]), ms(moments[4])) {
		fmt.Fprintf(&s, "w%d=%s ", k.UnixMilli(), v)
	}
	for _, at := range moments {
		if v, ok := b.h.AsOf(ms(at)); ok {
			fmt.Fprintf(&s, "h%d=%s ", at, v)
		}
		if v, ok := b.w.Get(ms(at)); ok {
			fmt.Fprintf(&s, "at%d=%s ", at, v)
		}
	}
	return s.String()
}

// boxes does what records say, and emits what there is then. A record that ends with "!" is given up on behind it.
func boxes(ttl, bound int64) func() *stream.Topology {
	return made(func(topo *stream.Topology) {
		keep := state.Spec[string]{TTL: duration(ttl)}
		long := state.Spec[string]{TTL: max(1, duration(ttl))}
		direct(topo, "in", duration(bound)).ProcessWith("box", func(h *stream.Handles[string]) box {
			return box{
				v: h.Value("v", keep),
				r: h.Reducing("r", func(sum, v string) string { return sum + v }, keep),
				l: h.List("l", keep),
				m: h.Map("m", state.MapSpec[int, string]{TTL: duration(ttl)}),
				w: h.Window("w", long),
				h: h.Versioned("h", long),
			}
		}, func(p *stream.Process[string, box, string], v string) {
			_, op, _ := strings.Cut(v, ":")
			p.State().do(strings.TrimSuffix(op, "!"), p.Clear)
			if strings.HasSuffix(op, "!") {
				p.Emit("bad")
				return
			}
			p.Emit(p.Key() + ": " + p.State().String())
		}, nil).TryMap(refuse, onerror.Skip).To(to("out"))
	})
}

func TestHandles(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"nothing":                    {"a:@1", "a: "},
		"value":                      {"a:put|x@1 b:@1 a:@1", "a: v=x |b: |a: v=x "},
		"value that is cleared":      {"a:put|x@1 a:clearvalue@1 a:clearvalue@2", "a: v=x |a: |a: "},
		"reducing":                   {"a:add|x@1 a:add|y@1", "a: r=x |a: r=xy "},
		"list":                       {"a:append|x@1 a:append|y@1 a:append|x@1", "a: l=x |a: l=x l=y |a: l=x l=y l=x "},
		"list that is cleared":       {"a:append|x@1 a:clearlist@1 a:append|y@1", "a: l=x |a: |a: l=y "},
		"map in order":               {"a:set|5|x@1 a:set|-7|y@1 a:set|0|z@1", "a: m5=x range5=x |a: m-7=y m5=x range5=x |a: m-7=y m0=z m5=x range0=z "},
		"map, one deleted":           {"a:set|5|x@1 a:set|6|y@1 a:delete|5@1", "a: m5=x range5=x |a: m5=x m6=y range5=x |a: m6=y range6=y "},
		"map changed while read":     {"a:set|5|x1@1 a:set|6|1@1 a:drop@1", "a: m5=x1 range5=x1 |a: m5=x1 m6=1 range5=x1 |a: "},
		"windows":                    {"a:window|20|x@1 a:window|5|y@1", "a: w20=x at20=x |a: w5=y w20=x at5=y at20=x "},
		"versions":                   {"a:version|20|x@1 a:version|5|y@1", "a: h20=x h50=x h90=x |a: h5=y h20=x h50=x h90=x "},
		"everything cleared":         {"a:put|x@1 a:set|5|x@1 a:append|x@1 a:clear@1", "a: v=x |a: v=x m5=x range5=x |a: v=x l=x m5=x range5=x |a: "},
		"given up on":                {"a:put|x@1 a:put|y!@1 a:set|1|z!@1 a:clear!@1 a:@1", "a: v=x |a: v=x "},
		"expired when w > t + TTL":   {"a:put|x@1 z:@101 a:@101 z:@102 a:@102", "a: v=x |z: |a: v=x |z: |a: "},
		"a later write prolongs":     {"a:put|x@1 a:put|y@50 z:@140 a:@140 z:@151 a:@151", "a: v=x |a: v=y |z: |a: v=y |z: |a: "},
		"an earlier one does not":    {"a:put|x@50 a:put|y@10 z:@145 a:@146", "a: v=x |a: v=y |z: |a: v=y "},
		"too late to be kept":        {"z:@200 a:put|x@99 a:put|y@100", "z: |a: |a: v=y "},
		"window by its start":        {"a:window|5|x@90 z:@105 a:@105 z:@106 a:@106", "a: w5=x at5=x |z: |a: w5=x at5=x |z: |a: "},
		"the newest version stays":   {"a:version|5|x@1 a:version|20|y@1 z:@500 a:@500", "a: h5=x h20=x h50=x h90=x |a: h5=x h20=y h50=y h90=y |z: |a: "},
		"no versions before the TTL": {"a:version|5|x@1 a:version|20|y@1 z:@110 a:@111", "a: h5=x h20=x h50=x h90=x |a: h5=x h20=y h50=y h90=y |z: |a: h20=y h50=y h90=y "},
	} {
		t.Run(name, func(t *testing.T) {
			streamtest.EveryWay(t, boxes(100, 0), func(t *testing.T, d *streamtest.Driver) {
				put(d, "in", c.in)
				assert.Equal(t, c.want, strings.Join(values(drained(d, "out")), "|"))
			})
		})
	}
}

// dated is a value with its time.
type dated struct {
	v    string
	time int64
}

// boxModel is what a key has: values by the letter of their handle and their sub-key.
type boxModel struct {
	vals map[string]map[int64]dated
	next int64
	ttl  int64
	w    int64
}

func (b *boxModel) expired(t int64) bool { return b.ttl > 0 && t < b.w-b.ttl }

func (b *boxModel) get(h string, s int64) (dated, bool) {
	x, ok := b.vals[h][s]
	if ok && h == "h" {
		return x, true
	}
	if h == "w" {
		x.time = s
	}
	return x, ok && !b.expired(x.time)
}

func (b *boxModel) put(h string, s int64, v string, t int64) {
	if old, ok := b.get(h, s); ok {
		t = max(t, old.time)
	}
	if b.vals[h] == nil {
		b.vals[h] = map[int64]dated{}
	}
	b.vals[h][s] = dated{v, t}
}

func (b *boxModel) do(op string, t int64) {
	name, rest, _ := strings.Cut(op, "|")
	arg, x, _ := strings.Cut(rest, "|")
	n, _ := strconv.ParseInt(arg, 10, 64)
	switch name {
	case "put":
		b.put("v", 0, arg, t)
	case "add":
		sum, _ := b.get("r", 0)
		if _, ok := b.get("r", 0); !ok {
			sum.v = ""
		}
		b.put("r", 0, sum.v+arg, t)
	case "append":
		b.next++
		b.put("l", b.next, arg, t)
	case "set":
		b.put("m", n, x, t)
	case "delete":
		delete(b.vals["m"], n)
	case "drop":
		maps.DeleteFunc(b.vals["m"], func(_ int64, x dated) bool { return strings.Contains(x.v, "1") })
	case "window":
		b.put("w", n, x, t)
	case "nowindow":
		delete(b.vals["w"], n)
	case "version":
		b.put("h", n, x, t)
	case "clear":
		clear(b.vals)
	case "clearvalue", "clearsum", "clearlist", "clearmap", "clearwindows", "clearversions":
		delete(b.vals, map[string]string{"value": "v", "sum": "r", "list": "l", "map": "m", "windows": "w", "versions": "h"}[name[5:]])
	}
}

func (b *boxModel) String() string {
	var s strings.Builder
	each := func(h, label string, lo, hi int64, most int) {
		for _, k := range slices.SortedFunc(maps.Keys(b.vals[h]), cmp.Compare) {
			x, ok := b.get(h, k)
			if !ok || k < lo || k >= hi || most == 0 {
				continue
			}
			most--
			if label != "m" && label != "range" && label != "w" {
				fmt.Fprintf(&s, "%s=%s ", label, x.v)
			} else {
				fmt.Fprintf(&s, "%s%d=%s ", label, k, x.v)
			}
		}
	}
	for _, h := range []string{"v", "r", "l", "m"} {
		each(h, h, -1<<60, 1<<60, -1)
	}
	each("m", "range", -1, 100, 1)
	each("w", "w", moments[1], moments[4], -1)
	for _, at := range moments {
		from, x := int64(-1<<60), dated{}
		for t, v := range b.vals["h"] {
			if t <= at && t > from {
				from, x = t, v
			}
		}
		if from > -1<<60 && !b.expired(at) {
			fmt.Fprintf(&s, "h%d=%s ", at, x.v)
		}
		if x, ok := b.get("w", at); ok {
			fmt.Fprintf(&s, "at%d=%s ", at, x.v)
		}
	}
	return s.String()
}

func TestHandlesAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ttl := rapid.SampledFrom([]int64{1, 15, 60, 5000}).Draw(t, "ttl")
		bound := rapid.SampledFrom([]int64{0, 20}).Draw(t, "bound")
		d := streamtest.New(t, boxes(ttl, bound)(), anyWay(t)...)
		model := map[string]*boxModel{}
		seen, now := none, int64(0)
		ops := []string{"", "", "put|%x", "put|%x", "add|%x", "add|%x", "append|%x", "append|%x", "append|%x", "set|%n|%x", "set|%n|%x", "set|%n|%x", "set|%n|%x",
			"delete|%n", "drop", "window|%m|%x", "window|%m|%x", "nowindow|%m", "version|%m|%x", "version|%m|%x", "clear", "clearvalue", "clearsum", "clearlist",
			"clearmap", "clearwindows", "clearversions"}
		for i := range rapid.IntRange(5, 60).Draw(t, "records") {
			disturb(t, d)
			now += rapid.Int64Range(0, 6).Draw(t, "step")
			at := now - rapid.Int64Range(0, 25).Draw(t, "back")
			key := rapid.SampledFrom([]string{"a", "a", "a1", strings.Repeat("long", 40)}).Draw(t, "key")
			op := rapid.SampledFrom(ops).Draw(t, "op")
			op = strings.NewReplacer("%x", strconv.Itoa(i), "%n", strconv.Itoa(rapid.SampledFrom([]int{-300, -1, 0, 2, 99, 100}).Draw(t, "sub-key")),
				"%m", strconv.FormatInt(rapid.SampledFrom(moments).Draw(t, "moment"), 10)).Replace(op)
			refuse := rapid.IntRange(0, 5).Draw(t, "refuse") == 0
			b := model[key]
			if b == nil {
				b = &boxModel{vals: map[string]map[int64]dated{}, ttl: ttl}
				model[key] = b
			}
			b.w = seen - bound
			rec := fmt.Sprintf("%s:%s@%d", key, op, at)
			var want []string
			if refuse {
				rec = fmt.Sprintf("%s:%s!@%d", key, op, at)
			} else {
				b.do(op, at)
				want = []string{key + ": " + b.String()}
			}
			seen = max(seen, at)
			put(d, "in", rec)
			require.Equal(t, want, values(drained(d, "out")), "after %s", rec)
		}
	})
}

// What has expired is removed from the store, too, without being touched again: by and by, as time goes on.
func TestExpiredIsRemoved(t *testing.T) {
	for _, cache := range []int64{0, 1 << 20} {
		d := streamtest.New(t, boxes(100, 0)(), streamtest.CacheSize(cache))
		for i := range 300 {
			put(d, "in", fmt.Sprintf("a:set|%d|x@%d a:append|x@%d a:version|%d|x@%d", i, i/10, i/10, i, i/10))
		}
		put(d, "in", "a:put|x@1 a:add|x@1 a:window|2|x@1")
		keys := map[string]bool{}
		compact(d, "test-in-changelog", keys)
		require.Greater(t, len(keys), 900)
		for i := range 20 {
			put(d, "in", fmt.Sprintf("z:@%d", 1000+i*60))
		}
		compact(d, "test-in-changelog", keys)
		assert.Less(t, len(keys), 10, "the newest version, the marker, and with which codecs each handle was written")
		assert.Equal(t, uint64(300+300+299+3), d.Counts("box").Expired)
		d.Drain[string]("out")
		put(d, "in", "a:@3000")
		assert.Equal(t, []string{"a: "}, d.Drain[string]("out"))
	}
}

// A TTL may change from one start to the next: what is there goes by the new one.
func TestTTLChanges(t *testing.T) {
	d := streamtest.New(t, boxes(100, 0)())
	put(d, "in", "a:put|x@1 z:@50")
	d.Drain[string]("out")
	d.Upgrade(boxes(1000, 0)())
	put(d, "in", "z:@900 a:@901")
	assert.Equal(t, []string{"z: ", "a: v=x "}, d.Drain[string]("out"))
	d.Upgrade(boxes(10, 0)())
	put(d, "in", "a:@902")
	assert.Equal(t, []string{"a: "}, d.Drain[string]("out"))
}

// Timers see and change the handles of their key, in every partition, behind a repartition; what a record has done before
// its function panics is taken back.
func TestHandlesInTimers(t *testing.T) {
	type seen struct {
		times state.List[int64]
		last  state.Versioned[string]
	}
	build := made(func(topo *stream.Topology) {
		rekeyed(topo, "in", 0).ProcessWith("p", func(h *stream.Handles[string]) seen {
			return seen{h.List("times", state.Spec[int64]{}), h.Versioned("last", state.Spec[string]{TTL: duration(1000)})}
		}, func(p *stream.Process[string, seen, string], v string) {
			p.State().times.Append(p.Time().UnixMilli())
			p.State().last.Put(p.Time(), v)
			p.SetTimer(p.Time().Add(duration(10)))
			if strings.HasSuffix(v, "!") {
				panic("boom")
			}
		}, func(p *stream.Process[string, seen, string], tm stream.Timer) {
			var times []int64
			for at := range p.State().times.All() {
				times = append(times, at)
			}
			v, _ := p.State().last.AsOf(tm.At.Add(-duration(10)))
			p.Emit(fmt.Sprint(p.Key(), tm.At.UnixMilli(), times, v))
			if len(times) > 1 {
				p.State().times.Clear()
			}
		}).To(to("out"))
	})
	streamtest.EveryWay(t, build, func(t *testing.T, d *streamtest.Driver) {
		for i, r := range []string{"a:x@1", "b:x@2", "a:y!@3", "a:y@5", "b:z@7"} {
			rec := at(r)
			rec.Partition = int32(i % 2)
			d.PipeTo("in", rec)
		}
		d.Advance(ms(100))
		got := d.Drain[string]("out")
		slices.Sort(got) // there are several tasks
		assert.Equal(t, []string{"a11 [1 5]a:x", "a15 []a:y", "b12 [2 7]b:x", "b17 []b:z"}, got)
	}, streamtest.Topic("in", 2), streamtest.Partitions(3))
}

// compact brings the keys that a topic holds, once compacted, up to date.
func compact(d *streamtest.Driver, topic string, keys map[string]bool) {
	for _, r := range d.Records(topic) {
		if keys[string(r.Key)] = true; r.Value == nil {
			delete(keys, string(r.Key))
		}
	}
}
