package main

import (
	"encoding/binary"
	"fmt"
	"unsafe"
)

// fields is a codec for a struct whose fields one function lists. The same function writes and reads, so that the two
// cannot differ.
type fields[V any] struct {
	name string
	each func(c *coder, v *V)
}

func (f fields[V]) Append(dst []byte, v V) ([]byte, error) {
	c := coder{b: dst, writes: true}
	f.each(&c, &v)
	return c.b, nil
}

func (f fields[V]) Decode(b []byte) (v V, err error) {
	c := coder{b: b}
	f.each(&c, &v)
	if c.failed || len(c.b) > 0 {
		return v, fmt.Errorf("%d bytes are not a %s", len(b), f.name)
	}
	return v, nil
}

func (f fields[V]) Name() string { return f.name }

// words is a codec for what is made of numbers of eight bytes alone. It writes what fields would of all of them.
type words[V any] struct{ name string }

func (words[V]) of(v *V) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(v)), unsafe.Sizeof(*v)/8)
}

func (w words[V]) Append(dst []byte, v V) ([]byte, error) {
	for _, n := range w.of(&v) {
		dst = binary.BigEndian.AppendUint64(dst, n)
	}
	return dst, nil
}

func (w words[V]) Decode(b []byte) (v V, err error) {
	list := w.of(&v)
	if len(b) != 8*len(list) {
		return v, fmt.Errorf("%d bytes are not a %s", len(b), w.name)
	}
	for i := range list {
		list[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return v, nil
}

func (w words[V]) Name() string { return w.name }

// coder writes fields, or reads them.
type coder struct {
	b      []byte
	writes bool
	failed bool // there was less to read than there should be
}

// number is a number of eight bytes, big endian.
func (c *coder) number(v *uint64) {
	if c.writes {
		c.b = binary.BigEndian.AppendUint64(c.b, *v)
		return
	}
	if len(c.b) < 8 {
		c.failed, c.b = true, nil
		return
	}
	*v = binary.BigEndian.Uint64(c.b)
	c.b = c.b[8:]
}

func (c *coder) numbers(list ...*uint64) {
	for _, v := range list {
		c.number(v)
	}
}

// time is a time in ms.
func (c *coder) time(v *int64) {
	u := uint64(*v)
	c.number(&u)
	*v = int64(u)
}

// small is a number that is small as a rule.
func (c *coder) small(v *uint64) {
	if c.writes {
		c.b = binary.AppendUvarint(c.b, *v)
		return
	}
	n, k := binary.Uvarint(c.b)
	if k <= 0 {
		c.failed, c.b = true, nil
		return
	}
	*v, c.b = n, c.b[k:]
}

func (c *coder) flag(v *bool) {
	var n uint64
	if *v {
		n = 1
	}
	c.small(&n)
	*v = n == 1
}

func (c *coder) text(s *string) {
	n := uint64(len(*s))
	c.small(&n)
	switch {
	case c.writes:
		c.b = append(c.b, *s...)
	case uint64(len(c.b)) < n:
		c.failed, c.b = true, nil
	default:
		*s, c.b = string(c.b[:n]), c.b[n:]
	}
}

// list is a list of what each codes.
func list[V any](c *coder, values *[]V, each func(c *coder, v *V)) {
	n := uint64(len(*values))
	c.small(&n)
	if !c.writes {
		if n > uint64(len(c.b)) { // an element has a byte at least
			c.failed, c.b = true, nil
			return
		}
		*values = make([]V, n)
	}
	for i := range *values {
		each(c, &(*values)[i])
	}
}
