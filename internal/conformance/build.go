package conformance

import (
	"fmt"

	"github.com/millstream-go/millstream/onerror"
	"github.com/millstream-go/millstream/sink"
	"github.com/millstream-go/millstream/source"
	"github.com/millstream-go/millstream/stream"
	"github.com/millstream-go/millstream/stream/codec"
	"github.com/millstream-go/millstream/window"
)

// builder writes an operator in the DSL.
type builder func(b *build, n Node) error

// builders are the operators that are known.
var builders = map[string]builder{
	"source_stream":       kafkaSource,
	"source_table":        kafkaTable,
	"source_global_table": kafkaGlobalTable,
	"filter":              kafkaFilter,
	"filter_not":          kafkaFilter,
	"map":                 kafkaMap,
	"map_values":          kafkaMapValues,
	"select_key":          kafkaSelectKey,
	"flat_map":            kafkaFlatMap,
	"flat_map_values":     kafkaFlatMapValues,
	"merge":               kafkaMerge,
	"branch":              kafkaBranch,
	"to_table":            kafkaToTable,
	"to_stream":           kafkaToStream,
	"sink":                kafkaSink,
	"aggregate":           kafkaAggregate,
	"cogroup":             kafkaCogroup,
	"table_aggregate":     kafkaTableAggregate,
	"suppress":            kafkaSuppress,
	"stream_stream_join":  kafkaStreamJoin,
	"stream_table_join":   kafkaStreamTableJoin,
	"stream_global_join":  kafkaGlobalJoin,
	"table_table_join":    kafkaTableJoin,
	"fk_join":             kafkaForeignKeyJoin,
	"punctuate":           kafkaPunctuate,
	"window":              flinkWindow,
	"interval_join":       flinkIntervalJoin,
	"timers":              flinkTimers,
	"cep":                 flinkPattern,
}

// Shorthands for the types of a case. Every stream has keys, which may be null.
type (
	Stream   = stream.Keyed[Key, Value]
	Table    = stream.Table[Key, Value]
	Versions = stream.VersionedTable[Key, Value]
)

// windows is a table of windows: what an aggregation with a window makes.
type windows struct {
	// update and close make a stream of its updates, or of its results when windows close.
	update, close func(func(Key, window.Span, Value) Record) stream.Stream[Record]
	store         string
	// inclusive: the case writes the last instant of a window as its end.
	inclusive bool
	final     bool  // it emits its windows when they close
	after     int64 // ms from its end, as the case writes it, until it takes nothing more
}

// build is a topology under construction.
type build struct {
	c      *Case
	t      *stream.Topology
	stream map[string]Stream
	table  map[string]Table
	window map[string]windows
	global map[string]stream.GlobalTable[Key, Value]
	// versions are tables that were asked for with versions.
	versions map[string]Versions
	// operators are those whose dropped records are counted, by name.
	operators []string
	// outputs are the topics that are read, by the name that the case has for them.
	outputs map[string]bool
	// timeless are the outputs whose results have no time in the case: they come from windows without an end.
	timeless map[string]bool
}

func newBuild(c *Case) (b *build, err error) {
	b = &build{c: c, t: stream.New(c.Name), stream: map[string]Stream{}, table: map[string]Table{}, window: map[string]windows{}, versions: map[string]Versions{}, outputs: map[string]bool{}, timeless: map[string]bool{}}
	if !c.Kafka() && c.Engine != "flink-2.3.0" {
		return nil, unknown("engine", c.Engine)
	}
	for _, n := range c.Topology.Nodes {
		f := builders[n.Op]
		if f == nil {
			return nil, unknown("operator", n.Op)
		}
		if err := f(b, n); err != nil {
			return nil, fmt.Errorf("%s %s: %w", n.Op, n.ID, err)
		}
	}
	return b, nil
}

// values is the codec of all values.
var values = codec.JSON[Value]()

// keys is the codec of all keys.
var keys = func() codec.Codec[Key] {
	c, err := codec.DefaultKey[Key]()
	if err != nil {
		panic(err) // not possible: it is a string
	}
	return c
}()

// source describes the source of a topic.
func (b *build) source(topic string) source.KeyedSource[Key, Value] {
	b.operators = append(b.operators, topic)
	return source.KafkaKeyed(topic, keys, values, source.MaxAhead(-1), source.OnNullKey(onerror.Skip))
}

// in is the stream that a node has made.
func (b *build) in(id string) (Stream, error) {
	if s, ok := b.stream[id]; ok {
		return s, nil
	}
	return Stream{}, fmt.Errorf("there is no stream %q before it", id)
}

// rows is the table that a node has made.
func (b *build) rows(id string) (Table, error) {
	if t, ok := b.table[id]; ok {
		return t, nil
	}
	if v, ok := b.versions[id]; ok {
		b.table[id] = v.Latest()
		return b.table[id], nil
	}
	return Table{}, fmt.Errorf("there is no table %q before it", id)
}

// to writes a stream to a topic.
func (b *build) to(topic string, s Stream) {
	b.outputs[topic] = true
	s.To(sink.Kafka(topic, values))
}

// keyed makes a stream of records.
func keyed(s stream.Stream[Record]) Stream {
	return s.KeyByWith(func(r Record) Key { return r.Key }, keys).MapValues(func(_ Key, r Record) Value { return r.Value })
}

// records makes records of a stream.
func records(s Stream) stream.Stream[Record] {
	return s.Map(func(k Key, v Value) Record { return Record{k, v} })
}

// span is a window as the case writes it.
func (w windows) span(s window.Span) Span {
	out := Span{Start: s.From, End: s.To}
	if w.inclusive {
		out.End--
	}
	return out
}

// result is a window's result as a record; a window that is gone has null.
func (w windows) result(k Key, s window.Span, v Value) Record {
	if s.Retracted {
		v = Null()
	}
	return Record{k.In(w.span(s)), v}
}
