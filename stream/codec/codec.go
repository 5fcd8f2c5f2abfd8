// Package codec turns keys, values and state into bytes and back.
//
// A codec is the one place where the type of a stream is written down; everything after it is inferred. The
// codecs here need nothing but the standard library. Others (Avro, Protobuf, a faster JSON) implement [Codec].
package codec

import (
	"encoding/binary"
	"encoding/json/v2"
	"fmt"
	"math"
	"reflect"
)

// Codec encodes and decodes values of one type. Implementations must be safe for concurrent use.
type Codec[V any] interface {
	// Append appends the encoding of v to dst and returns the longer slice. It must be deterministic where V is
	// used as a key: equal keys must have equal bytes.
	Append(dst []byte, v V) ([]byte, error)
	// Decode decodes b. It must not keep b or a part of it: the bytes are reused after the call.
	Decode(b []byte) (V, error)
	// Name identifies the format and its version, for example "json" or "int64". It is stored next to the state
	// that was written with it, and a state written under another name is refused, unless the codec is Evolving.
	Name() string
}

type stringCodec struct{}

// String is UTF-8 text, as Kafka's StringSerializer writes it.
var String Codec[string] = stringCodec{}

func (stringCodec) Append(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil }
func (stringCodec) Decode(b []byte) (string, error)             { return string(b), nil }
func (stringCodec) Name() string                                { return "string" }

type bytesCodec struct{}

// Bytes passes bytes through; Decode copies them.
var Bytes Codec[[]byte] = bytesCodec{}

func (bytesCodec) Append(dst []byte, v []byte) ([]byte, error) { return append(dst, v...), nil }
func (bytesCodec) Decode(b []byte) ([]byte, error)             { return append([]byte(nil), b...), nil }
func (bytesCodec) Name() string                                { return "bytes" }

type int64Codec struct{}

// Int64 is eight bytes, big endian, as Kafka's LongSerializer writes it.
var Int64 Codec[int64] = int64Codec{}

func (int64Codec) Append(dst []byte, v int64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, uint64(v)), nil
}
func (int64Codec) Decode(b []byte) (int64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("codec int64: %d bytes instead of 8", len(b))
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}
func (int64Codec) Name() string { return "int64" }

type jsonCodec[V any] struct{}

// JSON is encoding/json/v2 with its default options. Maps are written in key order, so that equal values have equal
// bytes.
func JSON[V any]() Codec[V] { return jsonCodec[V]{} }

func (jsonCodec[V]) Append(dst []byte, v V) ([]byte, error) {
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return dst, err
	}
	return append(dst, b...), nil
}

func (jsonCodec[V]) Decode(b []byte) (V, error) {
	var v V
	err := json.Unmarshal(b, &v)
	return v, err
}
func (jsonCodec[V]) Name() string { return "json" }

// scalar covers the fixed-size kinds that have no variable of their own; it is reached through Default.
type scalar[V any] struct {
	name   string
	size   int
	append func([]byte, V) []byte
	decode func([]byte) V
}

func (s scalar[V]) Append(dst []byte, v V) ([]byte, error) { return s.append(dst, v), nil }
func (s scalar[V]) Decode(b []byte) (V, error) {
	if len(b) != s.size {
		var zero V
		return zero, fmt.Errorf("codec %s: %d bytes instead of %d", s.name, len(b), s.size)
	}
	return s.decode(b), nil
}
func (s scalar[V]) Name() string { return s.name }

var (
	intCodec = scalar[int]{"int64", 8,
		func(b []byte, v int) []byte { return binary.BigEndian.AppendUint64(b, uint64(v)) },
		func(b []byte) int { return int(int64(binary.BigEndian.Uint64(b))) }}
	int32Codec = scalar[int32]{"int32", 4,
		func(b []byte, v int32) []byte { return binary.BigEndian.AppendUint32(b, uint32(v)) },
		func(b []byte) int32 { return int32(binary.BigEndian.Uint32(b)) }}
	uint32Codec = scalar[uint32]{"uint32", 4, binary.BigEndian.AppendUint32, binary.BigEndian.Uint32}
	uint64Codec = scalar[uint64]{"uint64", 8, binary.BigEndian.AppendUint64, binary.BigEndian.Uint64}
	floatCodec  = scalar[float64]{"float64", 8,
		func(b []byte, v float64) []byte { return binary.BigEndian.AppendUint64(b, math.Float64bits(v)) },
		func(b []byte) float64 { return math.Float64frombits(binary.BigEndian.Uint64(b)) }}
	uuidCodec = scalar[[16]byte]{"16 bytes", 16,
		func(b []byte, v [16]byte) []byte { return append(b, v[:]...) },
		func(b []byte) [16]byte { return [16]byte(b) }}
)

// builtin finds the built-in codec of exactly the type V.
func builtin[V any]() (Codec[V], bool) {
	for _, c := range []any{String, Bytes, Int64, intCodec, int32Codec, uint32Codec, uint64Codec, floatCodec, uuidCodec} {
		if c, ok := c.(Codec[V]); ok {
			return c, true
		}
	}
	return nil, false
}

// Default is the codec of a value or a state for which none was named: the built-in one for strings, bytes,
// integers, float64 and [16]byte, else JSON. It is an error for a type that JSON cannot hold (a function, a channel).
func Default[V any]() (Codec[V], error) {
	if c, ok := builtin[V](); ok {
		return c, nil
	}
	t := reflect.TypeFor[V]()
	switch t.Kind() {
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
		return nil, fmt.Errorf("no codec for %v: name one", t)
	}
	return JSON[V](), nil
}

// DefaultKey is the codec of a key for which none was named: the built-in one for strings, integers and [16]byte
// (for example a UUID), and for types derived from them, in the same bytes; integers of 8 and 16 bits, and uintptr, are
// written with 64. It is an error for any other type, because keys must have
// one encoding for ever.
func DefaultKey[K comparable]() (Codec[K], error) {
	if c, ok := builtin[K](); ok {
		return c, nil
	}
	t := reflect.TypeFor[K]()
	switch {
	case t.Kind() == reflect.String:
		return derived[K]{name: "string", enc: func(b []byte, v reflect.Value) []byte { return append(b, v.String()...) },
			dec: func(b []byte, v reflect.Value) error { v.SetString(string(b)); return nil }}, nil
	case t.Kind() == reflect.Array && t.Len() == 16 && t.Elem().Kind() == reflect.Uint8:
		return derived[K]{name: "16 bytes", enc: func(b []byte, v reflect.Value) []byte {
			for i := range 16 {
				b = append(b, byte(v.Index(i).Uint()))
			}
			return b
		}, dec: func(b []byte, v reflect.Value) error {
			if len(b) != 16 {
				return fmt.Errorf("codec 16 bytes: %d bytes instead of 16", len(b))
			}
			reflect.Copy(v, reflect.ValueOf(b))
			return nil
		}}, nil
	case t.Kind() == reflect.Int32:
		return derived[K]{name: "int32", enc: func(b []byte, v reflect.Value) []byte {
			return binary.BigEndian.AppendUint32(b, uint32(v.Int()))
		}, dec: func(b []byte, v reflect.Value) error {
			n, err := int32Codec.Decode(b)
			v.SetInt(int64(n))
			return err
		}}, nil
	case t.Kind() == reflect.Uint32:
		return derived[K]{name: "uint32", enc: func(b []byte, v reflect.Value) []byte {
			return binary.BigEndian.AppendUint32(b, uint32(v.Uint()))
		}, dec: func(b []byte, v reflect.Value) error {
			n, err := uint32Codec.Decode(b)
			v.SetUint(uint64(n))
			return err
		}}, nil
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Int64:
		return derived[K]{name: "int64", enc: func(b []byte, v reflect.Value) []byte {
			return binary.BigEndian.AppendUint64(b, uint64(v.Int()))
		}, dec: func(b []byte, v reflect.Value) error {
			n, err := Int64.Decode(b)
			if err == nil && v.OverflowInt(n) {
				return fmt.Errorf("codec int64: %d does not fit into %v", n, v.Type())
			}
			v.SetInt(n)
			return err
		}}, nil
	case t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uint64:
		return derived[K]{name: "uint64", enc: func(b []byte, v reflect.Value) []byte {
			return binary.BigEndian.AppendUint64(b, v.Uint())
		}, dec: func(b []byte, v reflect.Value) error {
			n, err := uint64Codec.Decode(b)
			if err == nil && v.OverflowUint(n) {
				return fmt.Errorf("codec uint64: %d does not fit into %v", n, v.Type())
			}
			v.SetUint(n)
			return err
		}}, nil
	}
	return nil, fmt.Errorf("no key codec for %v: keys without one are strings, integers and [16]byte; name a codec for others", t)
}

// derived serves types such as `type CardID string`, by reflection: about 20 ns. Name a codec where that counts.
type derived[K comparable] struct {
	name string
	enc  func([]byte, reflect.Value) []byte
	dec  func([]byte, reflect.Value) error
}

func (d derived[K]) Append(dst []byte, k K) ([]byte, error) {
	return d.enc(dst, reflect.ValueOf(&k).Elem()), nil
}

func (d derived[K]) Decode(b []byte) (K, error) {
	var k K
	err := d.dec(b, reflect.ValueOf(&k).Elem())
	return k, err
}
func (d derived[K]) Name() string { return d.name }
