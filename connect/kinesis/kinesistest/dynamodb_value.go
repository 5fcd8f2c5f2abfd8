package kinesistest

import (
	"bytes"
	"math/big"
	"slices"
	"strings"
)

// attribute is a DynamoDB value, with one field set.
type attribute struct {
	S    *string              `json:",omitempty"`
	N    *string              `json:",omitempty"`
	B    []byte               `json:",omitempty"`
	BOOL *bool                `json:",omitempty"`
	NULL *bool                `json:",omitempty"`
	M    map[string]attribute `json:",omitempty"`
	L    []attribute          `json:",omitempty"`
	SS   []string             `json:",omitempty"`
	NS   []string             `json:",omitempty"`
}

// MarshalJSON keeps maps and lists that are empty, which have a meaning.
func (a attribute) MarshalJSON() ([]byte, error) {
	switch {
	case a.M != nil:
		return encode(map[string]map[string]attribute{"M": a.M})
	case a.L != nil:
		return encode(map[string][]attribute{"L": a.L})
	case a.B != nil:
		return encode(map[string][]byte{"B": a.B})
	}
	type plain attribute
	return encode(plain(a))
}

// item is a row of a table.
type item map[string]attribute

func text(s string) attribute { return attribute{S: &s} }

// kind is the name of the value's type; "" where it has none or several.
func (a attribute) kind() string {
	var kinds []string
	for k, set := range map[string]bool{"S": a.S != nil, "N": a.N != nil, "B": a.B != nil, "BOOL": a.BOOL != nil, "NULL": a.NULL != nil,
		"M": a.M != nil, "L": a.L != nil, "SS": a.SS != nil, "NS": a.NS != nil} {
		if set {
			kinds = append(kinds, k)
		}
	}
	if len(kinds) != 1 {
		return ""
	}
	return kinds[0]
}

// number reads a number. The service has 38 digits; a rational has more.
func number(s string) (*big.Rat, bool) { return new(big.Rat).SetString(s) }

// digits writes a number as the service does, without leading and trailing zeros.
func digits(r *big.Rat) string {
	if r.IsInt() {
		return r.Num().String()
	}
	return strings.TrimRight(r.FloatString(38), "0")
}

// normal returns the value as it is stored, or why it cannot be stored.
func (a attribute) normal() (attribute, error) {
	switch a.kind() {
	case "":
		return a, refuse(validation, "a value must have exactly one type")
	case "N":
		r, ok := number(*a.N)
		if !ok {
			return a, refuse(validation, "%q is not a number", *a.N)
		}
		s := digits(r)
		return attribute{N: &s}, nil
	case "M":
		m := map[string]attribute{}
		for k, v := range a.M {
			n, err := v.normal()
			if err != nil {
				return a, err
			}
			m[k] = n
		}
		return attribute{M: m}, nil
	case "L":
		l := []attribute{}
		for _, v := range a.L {
			n, err := v.normal()
			if err != nil {
				return a, err
			}
			l = append(l, n)
		}
		return attribute{L: l}, nil
	case "SS", "NS":
		set := slices.Clone(a.SS)
		for _, s := range a.NS {
			r, ok := number(s)
			if !ok {
				return a, refuse(validation, "%q is not a number", s)
			}
			set = append(set, digits(r))
		}
		slices.Sort(set)
		if len(set) == 0 || len(slices.Compact(slices.Clone(set))) != len(set) {
			return a, refuse(validation, "a set must have elements, each once")
		}
		if a.kind() == "SS" {
			return attribute{SS: set}, nil
		}
		return attribute{NS: set}, nil
	}
	return a, nil
}

// same compares values as the = of an expression does. Both are normal.
func (a attribute) same(b attribute) bool {
	x, err1 := encode(a)
	y, err2 := encode(b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}

// compare orders two strings or two numbers.
func (a attribute) compare(b attribute) (int, bool) {
	switch {
	case a.S != nil && b.S != nil:
		return strings.Compare(*a.S, *b.S), true
	case a.N != nil && b.N != nil:
		x, ok1 := number(*a.N)
		y, ok2 := number(*b.N)
		if ok1 && ok2 {
			return x.Cmp(y), true
		}
	}
	return 0, false
}

// size is about what the service counts for a limit of 400 KiB.
func (it item) size() (n int) {
	for k, v := range it {
		b, _ := encode(v)
		n += len(k) + len(b)
	}
	return n
}
