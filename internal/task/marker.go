package task

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/millstream-go/millstream/internal/eventtime"
	"github.com/millstream-go/millstream/source"
)

// Marker is the last record that an epoch writes to a task's changelog: what the task needs, besides its entries, to
// go on from there.
type Marker struct {
	Owner  string // the incarnation that wrote it
	Epoch  uint64
	Inputs []MarkerInput
	Closed []MarkerClosed
}

// MarkerInput is the state of one input partition.
type MarkerInput struct {
	Stream    string
	Index     int32
	Position  source.Position // first unprocessed
	Watermark int64
	Max       int64
	Idle      bool
	Carried   []eventtime.Input // by upstream task, for a repartition topic
	Waiting   []int64           // times of records that are not believed, see eventtime.Guard
}

// MarkerClosed says up to which watermark a store's windows have been closed.
type MarkerClosed struct {
	Store   uint32
	Through int64
}

const (
	markerVersion = 1
	// A marker with times that are not believed has them behind the rest, a list for each input. One without such times
	// has the older format, which older programs know.
	markerWaiting = 2
)

// AppendMarker appends the encoding of m: a version byte, then its fields in order, numbers as varints, strings and
// lists with their length in front.
func AppendMarker(b []byte, m *Marker) []byte {
	version := byte(markerVersion)
	for _, in := range m.Inputs {
		if len(in.Waiting) > 0 {
			version = markerWaiting
		}
	}
	b = append(b, version)
	b = appendString(b, m.Owner)
	b = binary.AppendUvarint(b, m.Epoch)
	b = binary.AppendUvarint(b, uint64(len(m.Inputs)))
	for _, in := range m.Inputs {
		b = appendString(b, in.Stream)
		b = binary.AppendUvarint(b, uint64(in.Index))
		b = AppendPosition(b, in.Position)
		b = binary.AppendVarint(b, in.Watermark)
		b = binary.AppendVarint(b, in.Max)
		b = appendBool(b, in.Idle)
		b = AppendInputs(b, in.Carried)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Closed)))
	for _, c := range m.Closed {
		b = binary.AppendUvarint(b, uint64(c.Store))
		b = binary.AppendVarint(b, c.Through)
	}
	if version == markerWaiting {
		for _, in := range m.Inputs {
			b = binary.AppendUvarint(b, uint64(len(in.Waiting)))
			for _, t := range in.Waiting {
				b = binary.AppendVarint(b, t)
			}
		}
	}
	return b
}

// DecodeMarker reads what AppendMarker wrote.
func DecodeMarker(b []byte) (*Marker, error) {
	d := decoder{b: b}
	version := d.byte()
	if version != markerVersion && version != markerWaiting {
		return nil, fmt.Errorf("epoch marker has format %d, this program knows %d and %d", version, markerVersion, markerWaiting)
	}
	m := &Marker{Owner: d.string(), Epoch: d.uvarint()}
	for range d.count() {
		in := MarkerInput{Stream: d.string(), Index: int32(d.uvarint()), Position: d.position(), Watermark: d.varint(), Max: d.varint(), Idle: d.bool()}
		in.Carried = d.inputs()
		m.Inputs = append(m.Inputs, in)
	}
	for range d.count() {
		m.Closed = append(m.Closed, MarkerClosed{Store: uint32(d.uvarint()), Through: d.varint()})
	}
	if version == markerWaiting {
		for i := range m.Inputs {
			for range d.count() {
				m.Inputs[i].Waiting = append(m.Inputs[i].Waiting, d.varint())
			}
		}
	}
	if d.bad || len(d.b) > 0 {
		return nil, errors.New("epoch marker is damaged")
	}
	return m, nil
}

// AppendInputs appends watermarks with their idle flags, as in a marker or in a control record.
func AppendInputs(b []byte, ins []eventtime.Input) []byte {
	b = binary.AppendUvarint(b, uint64(len(ins)))
	for _, in := range ins {
		b = binary.AppendVarint(b, in.Watermark)
		b = appendBool(b, in.Idle)
	}
	return b
}

// AppendPosition appends a position.
func AppendPosition(b []byte, p source.Position) []byte {
	b = binary.AppendUvarint(b, p.High)
	b = binary.AppendUvarint(b, p.Mid)
	b = binary.AppendUvarint(b, p.Low)
	return binary.AppendVarint(b, p.Sub)
}

// Local is what the store remembers of a task's changelog: the first position that is not in the store, and when and
// by whom it was written.
type Local struct {
	Next  source.Position
	Wall  int64 // ms since the epoch
	Owner string
}

// AppendLocal appends the encoding of l, a version byte first.
func AppendLocal(b []byte, l Local) []byte {
	b = append(b, markerVersion)
	b = AppendPosition(b, l.Next)
	b = binary.AppendVarint(b, l.Wall)
	return appendString(b, l.Owner)
}

// DecodeLocal reads what AppendLocal wrote.
func DecodeLocal(b []byte) (Local, error) {
	d := decoder{b: b}
	if v := d.byte(); v != markerVersion {
		return Local{}, fmt.Errorf("changelog position has format %d, this program knows %d", v, markerVersion)
	}
	l := Local{Next: d.position(), Wall: d.varint(), Owner: d.string()}
	if d.bad || len(d.b) > 0 {
		return Local{}, errors.New("changelog position is damaged")
	}
	return l, nil
}

// Reached is what the store remembers of an input: the first position that was not processed, and what would have been
// committed beside it.
type Reached struct {
	Next     source.Position
	Metadata string
}

// AppendInput appends the encoding of k, a version byte first.
func AppendInput(b []byte, k Reached) []byte {
	b = append(b, markerVersion)
	b = AppendPosition(b, k.Next)
	return appendString(b, k.Metadata)
}

// DecodeInput reads what AppendInput wrote.
func DecodeInput(b []byte) (Reached, error) {
	d := decoder{b: b}
	if v := d.byte(); v != markerVersion {
		return Reached{}, fmt.Errorf("position of an input has format %d, this program knows %d", v, markerVersion)
	}
	k := Reached{Next: d.position(), Metadata: d.string()}
	if d.bad || len(d.b) > 0 {
		return Reached{}, errors.New("position of an input is damaged")
	}
	return k, nil
}

// Control is the record that carries watermarks across a repartition topic: no more than one per process, partition
// and epoch, after the epoch's data.
type Control struct {
	Tasks []ControlTask
}

// ControlTask is one upstream task's watermark.
type ControlTask struct {
	Task      int32
	Watermark int64
	Idle      bool
}

// ControlHeader marks a control record. User code never sees a record with it.
const ControlHeader = "millstream-watermark"

// AppendControl appends the encoding of c, a version byte first.
func AppendControl(b []byte, c Control) []byte {
	b = append(b, markerVersion)
	b = binary.AppendUvarint(b, uint64(len(c.Tasks)))
	for _, t := range c.Tasks {
		b = binary.AppendUvarint(b, uint64(t.Task))
		b = binary.AppendVarint(b, t.Watermark)
		b = appendBool(b, t.Idle)
	}
	return b
}

// DecodeControl reads what AppendControl wrote.
func DecodeControl(b []byte) (Control, error) {
	d := decoder{b: b}
	if v := d.byte(); v != markerVersion {
		return Control{}, fmt.Errorf("watermark record has format %d, this program knows %d", v, markerVersion)
	}
	var c Control
	for range d.count() {
		c.Tasks = append(c.Tasks, ControlTask{Task: int32(d.uvarint()), Watermark: d.varint(), Idle: d.bool()})
	}
	if d.bad || len(d.b) > 0 {
		return Control{}, errors.New("watermark record is damaged")
	}
	return c, nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// decoder reads fields one after the other; after a fault it returns zeros and bad is set.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) bool() bool {
	v := d.byte()
	d.bad = d.bad || v > 1
	return v == 1
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count is the length of a list. Each element takes at least a byte, so a larger one is damage, not a reason to
// allocate.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return 0
	}
	return int(n)
}

func (d *decoder) string() string {
	n := d.count()
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) position() source.Position {
	return source.Position{High: d.uvarint(), Mid: d.uvarint(), Low: d.uvarint(), Sub: d.varint()}
}

func (d *decoder) inputs() []eventtime.Input {
	var ins []eventtime.Input
	for range d.count() {
		ins = append(ins, eventtime.Input{Watermark: d.varint(), Idle: d.bool()})
	}
	return ins
}
