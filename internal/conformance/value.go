package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Value is what a record of a case has: a string, an integer or null, or (only as a result) a match of a pattern. The
// zero Value is null.
type Value struct {
	kind byte
	text string
	n    int64
}

const (
	null byte = iota
	text
	integer
	match
)

// Null, Text and Int make values.
func Null() Value         { return Value{} }
func Text(s string) Value { return Value{kind: text, text: s} }
func Int(n int64) Value   { return Value{kind: integer, n: n} }

// Match is the value of a match: the values of each stage, in order.
func Match(stages map[string][]Value) (Value, error) {
	b, err := json.Marshal(stages)
	return Value{kind: match, text: string(b)}, err
}

// IsNull implements codec.Nullable.
func (v Value) IsNull() bool { return v.kind == null }

// String is str(v) of the format.
func (v Value) String() string {
	switch v.kind {
	case null:
		return "null"
	case integer:
		return strconv.FormatInt(v.n, 10)
	}
	return v.text
}

// Num is num(v) of the format: the integer; the digits at the end of a string, 0 if there are none; 0 for null.
func (v Value) Num() int64 {
	switch v.kind {
	case integer:
		return v.n
	case text:
		digits := v.text[len(strings.TrimRight(v.text, "0123456789")):]
		n, _ := strconv.ParseInt(digits, 10, 64)
		return n
	}
	return 0
}

// MarshalJSON implements json.Marshaler.
func (v Value) MarshalJSON() ([]byte, error) {
	switch v.kind {
	case text:
		return json.Marshal(v.text)
	case match:
		return []byte(v.text), nil
	}
	return []byte(v.String()), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *Value) UnmarshalJSON(b []byte) error {
	b = bytes.TrimSpace(b)
	switch {
	case string(b) == "null":
		*v = Value{}
		return nil
	case len(b) > 0 && b[0] == '"':
		v.kind, v.n = text, 0
		return json.Unmarshal(b, &v.text)
	case len(b) > 0 && b[0] == '{':
		var stages map[string][]Value
		if err := json.Unmarshal(b, &stages); err != nil {
			return err
		}
		var err error
		*v, err = Match(stages)
		return err
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return fmt.Errorf("%s is neither a string nor an integer nor null", b)
	}
	*v = Int(n)
	return nil
}

// Key is the key of a record, with its window if it has one. The zero Key is null. It is written such that the bytes of
// keys without a window sort as the keys do.
type Key string

// Span is the window of a key, as the case writes it.
type Span struct {
	Start int64 `json:"start"`
	End   int64 `json:"end"`
}

// NewKey is a key without a window.
func NewKey(s string) Key { return Key("k" + s) }

// In is the key in a window.
func (k Key) In(w Span) Key {
	s, _, _ := k.parts()
	return Key(fmt.Sprintf("w%d,%d,%s", w.Start, w.End, s))
}

// IsNull implements codec.Nullable.
func (k Key) IsNull() bool { return k == "" }

// Plain is the key without its window.
func (k Key) Plain() Key {
	s, _, ok := k.parts()
	if !ok {
		return ""
	}
	return NewKey(s)
}

// String is the key as text; "null" if it is null.
func (k Key) String() string {
	s, _, ok := k.parts()
	if !ok {
		return "null"
	}
	return s
}

// parts are the key's text and window; ok is false if it is null.
func (k Key) parts() (s string, w *Span, ok bool) {
	switch {
	case k == "":
		return "", nil, false
	case k[0] == 'k':
		return string(k[1:]), nil, true
	}
	f := strings.SplitN(string(k[1:]), ",", 3)
	w = &Span{}
	w.Start, _ = strconv.ParseInt(f[0], 10, 64)
	w.End, _ = strconv.ParseInt(f[1], 10, 64)
	return f[2], w, true
}

// Record is a record between two KeyBy.
type Record struct {
	Key   Key
	Value Value
}
