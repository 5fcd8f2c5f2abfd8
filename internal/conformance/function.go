package conformance

import (
	"fmt"
	"strconv"
	"strings"
)

// The functions that the format names, with their argument behind a colon.

func parse(spec string) (name, arg string) {
	name, arg, _ = strings.Cut(spec, ":")
	return name, arg
}

func number(spec, arg string) (int64, error) {
	n, err := strconv.ParseInt(arg, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("function %q: %w", spec, err)
	}
	return n, nil
}

func positive(spec, arg string) (int64, error) {
	n, err := number(spec, arg)
	if err == nil && n <= 0 {
		err = fmt.Errorf("function %q: its argument must be positive", spec)
	}
	return n, err
}

func unknown(what, spec string) error { return fmt.Errorf("unknown %s %q", what, spec) }

func mod(n, m int64) int64 { return (n%m + m) % m }

// predicate is a condition on a record; it is false for null.
func predicate(spec string) (func(Key, Value) bool, error) {
	name, arg := parse(spec)
	var f func(Key, Value) bool
	var err error
	switch name {
	case "even":
		f = func(_ Key, v Value) bool { return v.Num()%2 == 0 }
	case "gt":
		var n int64
		n, err = number(spec, arg)
		f = func(_ Key, v Value) bool { return v.Num() > n }
	case "mod_eq":
		m, r, _ := strings.Cut(arg, ",")
		var a, b int64
		if a, err = positive(spec, m); err == nil {
			b, err = number(spec, r)
		}
		f = func(_ Key, v Value) bool { return mod(v.Num(), a) == b }
	case "not_null":
		f = func(Key, Value) bool { return true }
	case "key_in":
		in := map[Key]bool{}
		for k := range strings.SplitSeq(arg, ",") {
			in[NewKey(k)] = true
		}
		f = func(k Key, _ Value) bool { return in[k.Plain()] }
	default:
		return nil, unknown("predicate", spec)
	}
	if name == "key_in" {
		return f, err // of the key alone
	}
	return func(k Key, v Value) bool { return !v.IsNull() && f(k, v) }, err
}

// valueFn changes a value; null stays null.
func valueFn(spec string) (func(Value) Value, error) {
	name, arg := parse(spec)
	var f func(Value) Value
	var n int64
	var err error
	switch name {
	case "add":
		n, err = number(spec, arg)
		f = func(v Value) Value { return Int(v.Num() + n) }
	case "mul":
		n, err = number(spec, arg)
		f = func(v Value) Value { return Int(v.Num() * n) }
	case "append":
		f = func(v Value) Value { return Text(v.String() + arg) }
	case "null_if_mod":
		n, err = positive(spec, arg)
		f = func(v Value) Value {
			if mod(v.Num(), n) == 0 {
				return Null()
			}
			return v
		}
	case "to_string":
		f = func(v Value) Value { return Text(v.String()) }
	default:
		return nil, unknown("value function", spec)
	}
	return func(v Value) Value {
		if v.IsNull() {
			return v
		}
		return f(v)
	}, err
}

// keyFn makes a key of a record.
func keyFn(spec string) (func(Key, Value) Key, error) {
	name, arg := parse(spec)
	switch name {
	case "mod":
		n, err := positive(spec, arg)
		return func(_ Key, v Value) Key {
			if v.IsNull() {
				return ""
			}
			return NewKey("m" + strconv.FormatInt(mod(v.Num(), n), 10))
		}, err
	case "value":
		return func(_ Key, v Value) Key { return NewKey(v.String()) }, nil
	case "const":
		return func(Key, Value) Key { return NewKey(arg) }, nil
	case "prefix":
		return func(_ Key, v Value) Key {
			s, _, _ := strings.Cut(v.String(), ":")
			if v.IsNull() || s == "-" {
				return ""
			}
			return NewKey(s)
		}, nil
	case "key_null_if_mod":
		n, err := positive(spec, arg)
		return func(k Key, v Value) Key {
			if v.IsNull() || mod(v.Num(), n) == 0 {
				return ""
			}
			return k
		}, err
	case "window_key":
		return func(k Key, _ Value) Key { return k.Plain() }, nil
	case "key":
		return func(k Key, _ Value) Key { return k }, nil
	}
	return nil, unknown("key function", spec)
}

// several makes any number of records of one.
func several(spec string) (func(Key, Value) []Record, error) {
	name, arg := parse(spec)
	n, err := positive(spec, arg)
	make := func(one func(k Key, v Value, i int64) Record) func(Key, Value) []Record {
		return func(k Key, v Value) (list []Record) {
			if v.IsNull() {
				return nil
			}
			for i := range mod(v.Num(), n) {
				list = append(list, one(k, v, i))
			}
			return list
		}
	}
	switch name {
	case "spread":
		return make(func(k Key, v Value, i int64) Record {
			return Record{NewKey(k.String() + "-" + strconv.FormatInt(i, 10)), v}
		}), err
	case "repeat":
		return make(func(k Key, v Value, i int64) Record {
			return Record{k, Text(v.String() + "#" + strconv.FormatInt(i, 10))}
		}), err
	}
	return nil, unknown("function", spec)
}

// aggregate is how an aggregate is made. It begins with null, which stands for the format's initial value.
type aggregator struct {
	add, subtract func(agg, v Value) Value
	merge         func(a, b Value) Value
	reduce        bool
}

// aggregation is an aggregate's function.
func aggregation(spec string) (a aggregator, err error) {
	name, arg := parse(spec)
	plus := func(a, b Value) Value { return Int(a.Num() + b.Num()) }
	switch name {
	case "count":
		return aggregator{
			add:      func(a, _ Value) Value { return Int(a.Num() + 1) },
			subtract: func(a, _ Value) Value { return Int(a.Num() - 1) }, merge: plus}, nil
	case "sum":
		return aggregator{add: plus, subtract: func(a, v Value) Value { return Int(a.Num() - v.Num()) }, merge: plus}, nil
	case "concat":
		join := joined(0)
		return aggregator{add: join, merge: join}, nil
	case "concat_last":
		n, err := positive(spec, arg)
		join := joined(n)
		return aggregator{add: join, merge: join}, err
	case "trace":
		n, err := positive(spec, arg)
		join := joined(n)
		return aggregator{
			add:      func(a, v Value) Value { return join(a, Text("+"+v.String())) },
			subtract: func(a, v Value) Value { return join(a, Text("-"+v.String())) }}, err
	case "max_or_null":
		return aggregator{add: func(a, v Value) Value {
			switch {
			case v.Num() == 0:
				return Null()
			case a.IsNull():
				return Int(v.Num())
			}
			return Int(max(a.Num(), v.Num()))
		}}, nil
	case "reduce":
		f, err := reducer(arg)
		return aggregator{add: f, merge: f, reduce: true}, err
	}
	return a, unknown("aggregate", spec)
}

// reducer makes one value of two.
func reducer(spec string) (func(a, v Value) Value, error) {
	name, arg := parse(spec)
	switch name {
	case "sum":
		return func(a, v Value) Value { return Int(a.Num() + v.Num()) }, nil
	case "sub":
		return func(a, v Value) Value { return Int(a.Num() - v.Num()) }, nil
	case "concat":
		return func(a, v Value) Value { return Text(a.String() + "," + v.String()) }, nil
	case "concat_last":
		n, err := positive(spec, arg)
		return func(a, v Value) Value { return Text(last(a.String()+","+v.String(), n)) }, err
	}
	return nil, unknown("reducer", spec)
}

// joined joins non-empty lists, and keeps the last n items (0: all).
func joined(n int64) func(a, b Value) Value {
	return func(a, b Value) Value {
		if a.IsNull() || a.text == "" && a.kind == text {
			return Text(last(b.String(), n))
		}
		return Text(last(a.String()+","+b.String(), n))
	}
}

func last(list string, n int64) string {
	items := strings.Split(list, ",")
	if n > 0 && int64(len(items)) > n {
		items = items[int64(len(items))-n:]
	}
	return strings.Join(items, ",")
}

// joiner makes a result of both sides; nil is null.
func joiner(spec string) (func(l, r *Value) Value, error) {
	str := func(v *Value) string {
		if v == nil {
			return "null"
		}
		return v.String()
	}
	switch spec {
	case "pair":
		return func(l, r *Value) Value { return Text(str(l) + "|" + str(r)) }, nil
	case "wrap":
		return func(l, r *Value) Value { return Text("(" + str(l) + "|" + str(r) + ")") }, nil
	}
	return nil, unknown("joiner", spec)
}
