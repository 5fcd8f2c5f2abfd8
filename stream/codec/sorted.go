package codec

import (
	"encoding/binary"
	"fmt"
	"reflect"
)

// Sorted is a codec whose bytes sort as the values do: strings and [16]byte by their bytes, integers by their size,
// negative ones first. It is that of a state.Map's sub-keys for which none was named. For strings, [16]byte and unsigned
// integers it is the one of DefaultKey; signed integers have 64 bits whose first is turned around. It is an error for any
// other type.
func Sorted[K comparable]() (Codec[K], error) {
	t := reflect.TypeFor[K]()
	switch k := t.Kind(); {
	case k >= reflect.Int && k <= reflect.Int64:
		return signed[K]{}, nil
	case k == reflect.String, k >= reflect.Uint && k <= reflect.Uintptr, k == reflect.Array:
		if c, err := DefaultKey[K](); err == nil {
			return c, nil
		}
	}
	return nil, fmt.Errorf("no sorted codec for %v: those without one are strings, integers and [16]byte; name a codec whose bytes sort as is wanted", t)
}

// signed is the codec of signed integers whose bytes sort.
type signed[K comparable] struct{}

func (signed[K]) Name() string { return "sorted int64" }

func (signed[K]) Append(dst []byte, k K) ([]byte, error) {
	var n int64
	switch k := any(k).(type) {
	case int64:
		n = k
	case int:
		n = int64(k)
	default:
		n = reflect.ValueOf(k).Int()
	}
	return binary.BigEndian.AppendUint64(dst, uint64(n)^1<<63), nil
}

func (signed[K]) Decode(b []byte) (k K, err error) {
	if len(b) != 8 {
		return k, fmt.Errorf("codec sorted int64: %d bytes instead of 8", len(b))
	}
	v, n := reflect.ValueOf(&k).Elem(), int64(binary.BigEndian.Uint64(b)^1<<63)
	if v.OverflowInt(n) {
		return k, fmt.Errorf("codec sorted int64: %d does not fit into %v", n, v.Type())
	}
	v.SetInt(n)
	return k, nil
}
