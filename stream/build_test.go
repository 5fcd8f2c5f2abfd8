package stream_test

import (
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/connect/kafka"
	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

func goodConfig(t *testing.T) stream.Config {
	return stream.Config{AppID: "app", StateDir: t.TempDir(), Connect: []connect.Connector{kafka.Cluster{Brokers: []string{"localhost:9092"}}}}
}

// mistakes are the lines of what Build returns.
func mistakes(t *testing.T, topo *stream.Topology, c stream.Config) []string {
	t.Helper()
	app, err := topo.Build(c)
	if err == nil {
		require.NotNil(t, app)
		return nil
	}
	require.Nil(t, app)
	return strings.Split(err.Error(), "\n")
}

func keyed() source.KeyedSource[string, txn] {
	return source.KafkaKeyed("keyed", codec.String, codec.JSON[txn]())
}

func out[V any]() sink.Sink[V] { return sink.Kafka("out", codec.JSON[V]()) }

// Every topology has exactly the mistakes listed, each naming operator and place and saying how to mend it.
var badTopologies = map[string]struct {
	build func(*stream.Topology)
	want  []string // what each mistake says behind its place, with … for anything
}{
	"nothing": {func(*stream.Topology) {}, []string{`topology "bad" reads nothing: begin it with From`}},
	"source without a topic": {func(topo *stream.Topology) {
		topo.From(source.Kafka("", codec.JSON[txn]())).To(out[txn]())
	}, []string{`source: the topic has no name: give it one`}},
	"source without a codec": {func(topo *stream.Topology) {
		topo.From(source.Kafka[txn]("txns", nil)).To(out[txn]())
	}, []string{`source "txns": it has no codec: name one, for example codec.JSON[stream_test.txn]()`}},
	"source made by hand": {func(topo *stream.Topology) {
		topo.From(source.Source[txn]{Spec: source.Spec{Name: "txns"}, Value: codec.JSON[txn]()}).To(out[txn]())
	}, []string{`source "txns": it does not say which system it is on: make it with source.Kafka`}},
	"keyed source without a key codec": {func(topo *stream.Topology) {
		topo.FromKeyed(source.KafkaKeyed[string]("txns", nil, codec.JSON[txn]())).Count("counts")
	}, []string{`source "txns": it has no codec: name one`}},
	"files without what they need": {func(topo *stream.Topology) {
		at := func(v txn) time.Time { return v.occurred() }
		all := source.StartAtPositions(map[int32]source.Position{0: source.At(5)})
		topo.From(source.Files[txn](nil, "[", nil).SplitBy(nil).Then(source.Kafka("a", codec.JSON[txn]()))).EventTime(at, stream.Watermark{}).To(out[txn]())
		archive := source.Files(fstest.MapFS{}, "*.jsonl", codec.JSON[txn]())
		topo.From(archive.Then(source.Kafka("b", codec.JSON[txn](), source.StartAt(source.Latest), all))).To(out[txn]())
		topo.From(archive.Then(archive.Then(source.Kafka("c", codec.JSON[txn](), all)))).Watermark(stream.Watermark{}).To(out[txn]())
		topo.From(archive.Then(source.Kinesis("d", codec.JSON[txn](), all))).EventTime(at, stream.Watermark{}).To(out[txn]())
	}, []string{
		`source "a": its files have no file system: give source.Files one, for example os.DirFS("/archive")`,
		`source "a": the pattern "[" for its files is none: use one of path.Match, for example *.jsonl`,
		`source "a": its files are split by a function that is nil: leave out SplitBy for lines`,
		`source "a": where its topic goes on after the files is not exact: name the cut with source.StartAtPositions, for each partition, or source.StartAtTime`,
		`source "a": its files have no codec: name one, for example codec.JSON[stream_test.txn]()`,
		`source "b": where its topic goes on after the files is not exact`,
		`source "c": it has two sets of files: let one pattern match all of them`,
		`source "d": files come before a topic of Kafka, and it is on kinesis`,
		`source "b": its records in files have no timestamps, and the topology takes no time from their values: call EventTime`,
		`source "c": its records in files have no timestamps`,
		`source "d": it is on kinesis, and Config.Connect has no connector for that: add one`,
	}},
	"two stores behind a source that may grow": {func(topo *stream.Topology) {
		in := topo.FromKeyed(source.KafkaKeyed("txns", codec.String, codec.JSON[txn](), source.OnGrowth(source.GrowthRekeys)))
		in.Count("a")
		in.Count("b")
	}, []string{`source "txns": it feeds the stores "a" and "b": name the repartition that they share, with Repartition`}},
	"topic read twice": {func(topo *stream.Topology) {
		topo.From(txns()).To(out[txn]())
		topo.From(txns()).To(out[txn]())
	}, []string{`source "txns": topic "txns" is read at stream/build_test.go:… already: read it once, and use the stream as often`}},
	"dead letters nowhere": {func(topo *stream.Topology) {
		topo.From(source.Kafka("lines", codec.String, source.OnError(onerror.DeadLetter("")))).TryMap(parse, onerror.DeadLetter("")).To(out[txn]())
	}, []string{`trymap: the dead-letter topic has no name: give onerror.DeadLetter one`, `source "lines": the dead-letter topic has no name: give onerror.DeadLetter one`}},
	"sink without a topic": {func(topo *stream.Topology) {
		topo.From(txns()).To(sink.Kafka("", codec.JSON[txn]()))
	}, []string{`sink: the topic has no name: give it one`}},
	"sinks without codecs": {func(topo *stream.Topology) {
		topo.From(txns()).To(sink.Kafka[txn]("out", nil))
		topo.FromKeyed(keyed()).To(sink.Kafka[txn]("out2", nil))
	}, []string{`sink "out": it has no codec: name one, for example codec.JSON[stream_test.txn]()`, `sink "out2": it has no codec`}},
	"sink made by hand": {func(topo *stream.Topology) {
		topo.From(txns()).To(sink.Sink[txn]{Spec: sink.Spec{Name: "out"}, Value: codec.JSON[txn]()})
	}, []string{`sink "out": it does not say which system it is on: make it with sink.Kafka`}},
	"unused streams": {func(topo *stream.Topology) {
		s := topo.From(txns())
		s.Filter(txn.settled)
		s.KeyBy(txn.card).Window(window.Tumbling{Size: time.Second})
		s.KeyBy(txn.card).Count("counts").Changes(countOf)
	}, []string{`filter: nothing uses its result: end it with To, or remove it`, `keyby: nothing uses its result`, `changes: nothing uses its result`}},
	"store without a name": {func(topo *stream.Topology) {
		topo.From(txns()).KeyBy(txn.card).Count("")
	}, []string{`count: the store's name "" cannot be part of a topic's name: use 1 to 100 of the characters a-z A-Z 0-9 . _ -`}},
	"store with a bad name": {func(topo *stream.Topology) {
		topo.FromKeyed(keyed()).Fold("spend 1h", (*total).add)
	}, []string{`fold "spend 1h": the store's name "spend 1h" cannot be part of a topic's name: use 1 to 100`}},
	"store with a long name": {func(topo *stream.Topology) {
		topo.FromKeyed(keyed()).Count(strings.Repeat("a", 101))
	}, []string{`cannot be part of a topic's name: use 1 to 100`}},
	"two stores of one name": {func(topo *stream.Topology) {
		topo.FromKeyed(keyed()).Count("counts")
		topo.From(txns()).KeyBy(txn.card).Count("counts")
	}, []string{`count "counts": the name "counts" is taken by the store at stream/build_test.go:…, and their data would be mixed up: choose another name`}},
	"two re-keyed stores of one name": {func(topo *stream.Topology) {
		s := topo.From(txns())
		s.KeyBy(txn.card).Count("counts")
		s.KeyBy(txn.card).Count("counts")
	}, []string{`count "counts": the name "counts" is taken by the store at stream/build_test.go:…`}},
	"store names of one hash": {func(topo *stream.Topology) {
		s := topo.FromKeyed(keyed())
		s.Count("costarring")
		s.Count("liquid")
	}, []string{`count "liquid": the names "liquid" and "costarring" (at stream/build_test.go:…) have the same hash, and their data would be mixed up: change one of them a little`}},
	"subtopologies of one hash": {func(topo *stream.Topology) {
		topo.From(source.Kafka("costarring", codec.String)).To(out[string]())
		topo.From(source.Kafka("liquid", codec.String)).To(out[string]())
	}, []string{`source "liquid": the names "liquid" and "costarring" (at stream/build_test.go:…) have the same hash`}},
	"source and repartition of one name": {func(topo *stream.Topology) {
		topo.From(txns()).KeyBy(txn.card).Repartition("txns", stream.Repartitioning{}).Count("counts")
	}, []string{`repartition "txns": source and repartition are both named "txns" (the other at stream/build_test.go:…): rename the repartition`}},
	"two repartitions of one name": {func(topo *stream.Topology) {
		s := topo.From(txns())
		s.KeyBy(txn.card).Repartition("by-card", stream.Repartitioning{}).Count("a")
		s.KeyBy(txn.card).Repartition("by-card", stream.Repartitioning{}).Count("b")
	}, []string{`repartition "by-card": the name "by-card" is taken by the repartition at stream/build_test.go:…`}},
	"two stores share a KeyBy": {func(topo *stream.Topology) {
		s := topo.From(txns()).KeyBy(txn.card)
		s.Count("a")
		s.Count("b")
	}, []string{`keyby: it feeds the stores "a" and "b": name the repartition that they share, with Repartition`}},
	"repartitioned twice": {func(topo *stream.Topology) {
		s := topo.From(txns()).KeyBy(txn.card)
		s.Repartition("a", stream.Repartitioning{}).Count("c")
		s.Repartition("b", stream.Repartitioning{}).Count("d")
	}, []string{`keyby: it has a repartition already, of the name "a"`}},
	"repartition without partitions": {func(topo *stream.Topology) {
		topo.From(txns()).KeyBy(txn.card).Repartition("a", stream.Repartitioning{Partitions: -1}).Count("c")
	}, []string{`repartition "a": Partitions is -1: use 1 or more, or 0 for as many as the largest source before it`}},
	"tumbling window without a size": {func(topo *stream.Topology) {
		topo.FromKeyed(keyed()).Window(window.Tumbling{}).Count("counts")
	}, []string{`count "counts": window: Size is 0s: it must be at least 1ms`}},
	"hopping window with gaps": {func(topo *stream.Topology) {
		topo.FromKeyed(keyed()).Window(window.Hopping{Size: time.Second, Advance: time.Minute, Grace: -1}).Count("counts")
	}, []string{`count "counts": window: the Advance is 1m0s, longer than the Size of 1s`, `Grace is -1ns: it must not be negative`}},
	"session window with Fold": {func(topo *stream.Topology) {
		topo.FromKeyed(keyed()).Window(window.Session{Gap: time.Minute}).Fold("sums", (*total).add)
	}, []string{`fold "sums": sessions are merged, and Fold does not say how their aggregates are: use FoldMerge, or Count or Reduce`}},
	"session window without a merge": {func(topo *stream.Topology) {
		topo.FromKeyed(keyed()).Window(window.Session{Gap: time.Minute}).FoldMerge("sums", (*total).add, nil)
	}, []string{`fold "sums": its function is nil: give it one`}},
	"session window without a gap": {func(topo *stream.Topology) {
		topo.FromKeyed(keyed()).Window(window.Session{}).Count("counts")
	}, []string{`count "counts": window: Gap is 0s: it must be at least 1ms`}},
	"sessions by nothing": {func(topo *stream.Topology) {
		topo.FromKeyed(keyed()).SessionBy(nil, 0).Count("counts")
	}, []string{`count "counts": window: the function for the gap is nil: give it one, or use window.Session`}},
	"other windows without parameters": {func(topo *stream.Topology) {
		s := topo.FromKeyed(keyed())
		s.Window(window.Sliding{}).Count("a")
		s.Window(window.Trailing{}).Count("b")
		s.Window(window.Count{Size: 3}).Count("c")
		s.Window(window.Cumulate{Size: time.Hour, Step: 7 * time.Minute}).Count("d")
		s.Window(window.Day{}).Count("e")
	}, []string{`count "a": window: Difference is 0s: it must be at least 1ms`, `count "b": window: Size is 0s: it must be at least 1ms`,
		`count "c": window: TTL is 0s: it must be at least 1ms`, `count "d": window: the Size is 1h0m0s, no multiple of the Step of 7m0s`,
		`count "e": window: the Location is nil: name a time zone, such as time.UTC`}},
	"paces": {func(topo *stream.Topology) {
		a := topo.FromKeyed(keyed()).Window(window.Tumbling{Size: time.Hour}).Count("counts")
		f := func(string, window.Span, int64) txn { return txn{} }
		a.OnUpdateEvery(0, f).To(out[txn]())
		a.OnUpdateEvery(time.Minute, f).To(out[txn]())
		a.OnUpdateEvery(time.Second, f).To(out[txn]())
		a.OnUpdateNth(0, f).To(out[txn]())
	}, []string{`on update every: the pace is 0s: use whole milliseconds, at least one`,
		`on update every: the pace is 1s, another OnUpdateEvery of the same aggregate has 1m0s: use one for both`, `on update nth: n is 0: it must be at least 1`}},
	"no window": {func(topo *stream.Topology) {
		topo.FromKeyed(keyed()).Window(nil).Count("counts")
	}, []string{`count "counts": <nil> is not a window that can be aggregated: use window.Tumbling, Hopping, Session or another kind`}},
	"event time twice": {func(topo *stream.Topology) {
		s := topo.From(txns()).EventTime(txn.occurred, stream.Watermark{})
		s.EventTime(txn.occurred, stream.Watermark{}).To(out[txn]())
	}, []string{`event time: the event time of source "txns" is set at stream/build_test.go:… already`}},
	"event time after a repartition": {func(topo *stream.Topology) {
		topo.From(txns()).KeyBy(txn.card).Repartition("by-card", stream.Repartitioning{}).EventTime(txn.occurred, stream.Watermark{}).Count("counts")
	}, []string{`event time: it comes after the repartition "by-card": event time is set once, before records are re-keyed`}},
	"event time on another branch": {func(topo *stream.Topology) {
		s := topo.From(txns())
		s.EventTime(txn.occurred, stream.Watermark{}).To(out[txn]())
		s.KeyBy(txn.card).Window(window.Tumbling{Size: time.Second}).Count("counts")
	}, []string{`count "counts": its records from source "txns" have the broker's time, but … another branch (stream/build_test.go:…): call EventTime before the branches part`}},
	"negative bound": {func(topo *stream.Topology) {
		topo.From(txns()).EventTime(txn.occurred, stream.Watermark{OutOfOrder: -1}).To(out[txn]())
	}, []string{`event time: a watermark's OutOfOrder and Idle must not be negative`}},
	"merge of partitioned and not": {func(topo *stream.Topology) {
		topo.FromKeyed(keyed()).Merge(topo.From(txns()).KeyBy(txn.card)).Count("counts")
	}, []string{`merge: one of the streams is partitioned by its keys and another is not: call Repartition on that one`, `keyby: nothing uses its result`}},
	"merge of unlike partitions": {func(topo *stream.Topology) {
		a := topo.From(txns()).KeyBy(txn.card).Repartition("a", stream.Repartitioning{Partitions: 4})
		b := topo.From(source.Kafka("more", codec.JSON[txn]())).KeyBy(txn.card).Repartition("b", stream.Repartitioning{Partitions: 8})
		a.Merge(b).Count("counts")
	}, []string{`merge: the repartitions "a" and "b" have 4 and 8 partitions, so that equal keys would not meet: give both the same number`}},
	"merge of unlike keys": {func(topo *stream.Topology) {
		a := topo.FromKeyed(keyed())
		b := topo.FromKeyed(source.KafkaKeyed("json", codec.JSON[string](), codec.JSON[txn]()))
		a.Merge(b).Count("counts")
	}, []string{`merge: the streams' keys have the codecs "string" and "json", so that equal keys would not meet: use one codec for both`, `source "json": nothing uses its result`}},
	"merge with another topology": {func(topo *stream.Topology) {
		topo.From(txns()).Merge(stream.New("other").From(txns())).To(out[txn]())
	}, []string{`merge: a stream of another topology cannot be merged`}},
	"key without an encoding": {func(topo *stream.Topology) {
		topo.From(txns()).KeyBy(func(t txn) float32 { return float32(t.Amount) }).Count("counts")
	}, []string{`keyby: no key codec for float32: …(KeyByWith takes one)`}},
	"nil key codec": {func(topo *stream.Topology) {
		topo.From(txns()).KeyByWith(txn.card, nil).Count("counts")
	}, []string{`keyby: its key codec is nil: name one, for example codec.String`}},
	"nil state codec": {func(topo *stream.Topology) {
		topo.FromKeyed(keyed()).Fold("totals", (*total).add, nil)
	}, []string{`fold "totals": its codec is nil: name one, for example codec.JSON[stream_test.total](), or leave it out`}},
	"state without an encoding": {func(topo *stream.Topology) {
		topo.FromKeyed(keyed()).Fold("totals", func(*func(), txn) {})
	}, []string{`fold "totals": no codec for func(): name one`}},
	"nil functions": {func(topo *stream.Topology) {
		s := topo.From(txns())
		s.Map[txn](nil).Filter(nil).Peek(nil).FlatMap[txn](nil).TryMap[txn](nil).To(out[txn]())
		topo.From(source.Kafka("timed", codec.JSON[txn]())).EventTime(nil, stream.Watermark{}).To(out[txn]())
		s.Split(nil)
		k := s.KeyBy[string](nil).MapValues[txn](nil).Filter(nil).Peek(nil).Repartition("r", stream.Repartitioning{})
		k.Map[txn](nil).To(out[txn]())
		k.Reduce("a", nil).Changes[txn](nil).To(out[txn]())
		k.Fold[total]("b", nil)
		k.Process[total, txn]("c", nil, nil).To(out[txn]())
		topo.FromKeyed(keyed()).EventTime(nil, stream.Watermark{}).Window(window.Tumbling{Size: time.Second}).Reduce("d", nil).Late[txn](nil).To(out[txn]())
		topo.FromKeyed(source.KafkaKeyed("w", codec.String, codec.JSON[txn]())).Window(window.Tumbling{Size: time.Second}).Fold[total]("e", nil).OnClose[txn](nil).To(out[txn]())
	}, repeat(21, `: its function is nil: give it one`)},
	"the application's own topics": {func(topo *stream.Topology) {
		topo.From(txns()).KeyBy(txn.card).Count("counts").Changes(countOf).To(sink.Kafka("app-counts-repartition", codec.Int64))
		topo.From(source.Kafka("app-counts-changelog", codec.String)).To(out[string]())
	}, []string{`sink "app-counts-repartition": topic "app-counts-repartition" belongs to the application itself, for the operator at stream/build_test.go:…: choose another topic`,
		`source "app-counts-changelog": topic "app-counts-changelog" belongs to the application itself`}},
	"long topic": {func(topo *stream.Topology) {
		topo.FromKeyed(source.KafkaKeyed(strings.Repeat("a", 240), codec.String, codec.String)).Count("counts")
	}, []string{`the name of the application's topic "app-a…-changelog" has 254 characters, Kafka allows 249: shorten Config.AppID or the operator's name`}},
	"another system": {func(topo *stream.Topology) {
		s := topo.From(txns())
		for _, topic := range []string{"a", "b"} {
			d := sink.Kafka(topic, codec.JSON[txn]())
			d.Spec.System = "carrier-pigeon"
			s.To(d)
		}
	}, []string{`sink "a": it is on carrier-pigeon, and Config.Connect has no connector for that: add one`}},
}

func repeat(n int, s string) (list []string) {
	for range n {
		list = append(list, s)
	}
	return list
}

func TestBadTopologies(t *testing.T) {
	for name, c := range badTopologies {
		t.Run(name, func(t *testing.T) {
			topo := stream.New("bad")
			c.build(topo)
			got := mistakes(t, topo, goodConfig(t))
			require.Len(t, got, len(c.want), "%s", strings.Join(got, "\n"))
			for i, want := range c.want {
				require.Regexp(t, strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*"), got[i])
				if name != "nothing" && !strings.HasPrefix(c.want[i], "Grace") {
					require.Regexp(t, `^stream/build_test\.go:\d+: `, got[i], "the place")
				}
			}
			require.Equal(t, got, mistakes(t, topo, goodConfig(t)), "a second Build finds the same")
		})
	}
}

// One Build returns all mistakes, of topology, configuration and connector.
func TestAllMistakesAtOnce(t *testing.T) {
	topo := stream.New("bad")
	s := topo.From(source.Kafka[txn]("txns", nil))
	s.Filter(txn.settled)
	s.KeyBy(txn.card).Window(window.Tumbling{}).Count("a b")
	got := mistakes(t, topo, stream.Config{AppID: "no spaces", CommitInterval: -1, Connect: []connect.Connector{kafka.Cluster{}}})
	for _, want := range []string{"no codec", "window: Size", "filter: nothing uses", `store's name "a b"`, "Config.AppID", "Config.CommitInterval", "connector kafka: kafka: Brokers is empty"} {
		require.True(t, strings.Contains(strings.Join(got, "\n"), want), "%s in\n%s", want, strings.Join(got, "\n"))
	}
	require.Len(t, got, 7)
}

func TestBadConfigs(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*stream.Config)
		want  string
	}{
		"no id":            {func(c *stream.Config) { c.AppID = "" }, `Config.AppID is "": use 1 to 100 of the characters`},
		"dots as id":       {func(c *stream.Config) { c.AppID = ".." }, `Config.AppID is "..": use`},
		"path as id":       {func(c *stream.Config) { c.AppID = "a/b" }, `Config.AppID is "a/b": use`},
		"instance":         {func(c *stream.Config) { c.InstanceID = "a b" }, `Config.InstanceID is "a b": use`},
		"guarantee":        {func(c *stream.Config) { c.Guarantee = 3 }, `Config.Guarantee is 3: use connect.ExactlyOnce`},
		"interval":         {func(c *stream.Config) { c.CommitInterval = time.Microsecond }, `Config.CommitInterval is 1µs: it must be at least 1ms`},
		"session":          {func(c *stream.Config) { c.SessionTimeout = time.Millisecond }, `Config.SessionTimeout is 1ms: it must be at least 1s`},
		"workers":          {func(c *stream.Config) { c.Workers = -1 }, `Config.Workers is -1: it must be at least 1`},
		"key groups":       {func(c *stream.Config) { c.KeyGroups = 1 << 20 }, `Config.KeyGroups is 1048576: it must be from 1 to 32768`},
		"memory":           {func(c *stream.Config) { c.MemoryBudget = 1 }, `Config.MemoryBudget is 1 bytes: it must be at least 16 MiB`},
		"nil connector":    {func(c *stream.Config) { c.Connect = append(c.Connect, nil) }, `Config.Connect[1] is nil`},
		"connectors twice": {func(c *stream.Config) { c.Connect = append(c.Connect, c.Connect[0]) }, `Config.Connect has two connectors for "kafka"`},
		"connector":        {func(c *stream.Config) { c.Connect = []connect.Connector{kafka.Cluster{Brokers: []string{"localhost"}}} }, `broker address "localhost" is not of the form "host:port"`},
		"no connector":     {func(c *stream.Config) { c.Connect = nil }, `source "txns": it is on kafka, and Config.Connect has no connector for that: add one, such as kafka.Cluster{Brokers: []string{"localhost:9092"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			topo := stream.New("good")
			topo.From(txns()).To(out[txn]())
			cfg := goodConfig(t)
			require.Empty(t, mistakes(t, topo, cfg))
			c.spoil(&cfg)
			got := mistakes(t, topo, cfg)
			require.Len(t, got, 1, "%v", got)
			require.Contains(t, got[0], c.want)
		})
	}
}

// Topologies that are right, though close to a mistake.
func TestGoodTopologies(t *testing.T) {
	for name, build := range map[string]func(*stream.Topology){
		"store without a reader":    func(topo *stream.Topology) { topo.FromKeyed(keyed()).Count("counts") },
		"peek at the end":           func(topo *stream.Topology) { topo.From(txns()).Peek(func(txn) {}) },
		"unused branch":             func(topo *stream.Topology) { topo.From(txns()).Split(txn.settled)[0].To(out[txn]()) },
		"store and source namesake": func(topo *stream.Topology) { topo.FromKeyed(keyed()).Count("keyed") },
		"two names of one topic written": func(topo *stream.Topology) {
			s := topo.From(txns())
			s.To(out[txn]())
			s.Filter(txn.settled).To(out[txn]())
		},
		"KeyBy written and counted": func(topo *stream.Topology) {
			s := topo.From(txns()).KeyBy(txn.card)
			s.To(out[txn]())
			s.Count("counts")
		},
		"shared repartition": func(topo *stream.Topology) {
			s := topo.From(txns()).KeyBy(txn.card).Repartition("by-card", stream.Repartitioning{})
			s.Count("a")
			s.Count("b")
		},
		"event time before the branches": func(topo *stream.Topology) {
			s := topo.From(txns()).EventTime(txn.occurred, stream.Watermark{})
			s.KeyBy(txn.card).Window(window.Tumbling{Size: time.Second}).Count("a")
			s.Filter(txn.settled).KeyBy(txn.card).Window(window.Tumbling{Size: time.Minute}).Count("b")
		},
		"merge with itself": func(topo *stream.Topology) {
			s := topo.FromKeyed(keyed())
			s.Merge(s).Count("counts")
		},
		"merge of like partitions": func(topo *stream.Topology) {
			a := topo.From(txns()).KeyBy(txn.card).Repartition("a", stream.Repartitioning{Partitions: 4})
			b := topo.From(source.Kafka("more", codec.JSON[txn]())).KeyBy(txn.card).Repartition("b", stream.Repartitioning{Partitions: 4})
			a.Merge(b).Count("counts")
		},
	} {
		t.Run(name, func(t *testing.T) {
			topo := stream.New("good")
			build(topo)
			require.Empty(t, mistakes(t, topo, goodConfig(t)))
		})
	}
}

// The place of a declaration is where the program calls the DSL, also from a function of its own and through Via.
func TestPlaces(t *testing.T) {
	topo := stream.New("bad")
	unused := func(s stream.Stream[txn]) stream.Stream[txn] { return s.Filter(nil) }
	topo.From(txns()).Via(unused).To(out[txn]())
	got := mistakes(t, topo, goodConfig(t))
	require.Len(t, got, 1)
	require.Regexp(t, `^stream/build_test\.go:\d+: filter: `, got[0])
}
