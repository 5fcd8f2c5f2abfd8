package kinesistest

import (
	"encoding/json"
	"maps"
	"math/big"
	"slices"
	"strings"
)

func encode(v any) ([]byte, error) { return json.Marshal(v) }

// An expression of DynamoDB is read from left to right and evaluated at once, over one item. What is read here is the part
// of the language that conditions and updates of single attributes need: comparisons, AND, OR, NOT, parentheses,
// attribute_exists, attribute_not_exists, begins_with; SET with +, - and if_not_exists, REMOVE, ADD, DELETE. Whatever else is
// met is an error, never passed over.
//
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html
type expressions struct {
	names  map[string]string
	values map[string]attribute
	used   map[string]bool
}

func newExpressions(names map[string]string, values map[string]attribute) (*expressions, error) {
	x := &expressions{names, map[string]attribute{}, map[string]bool{}}
	for k, v := range values {
		n, err := v.normal()
		if err != nil {
			return nil, err
		}
		x.values[k] = n
	}
	return x, nil
}

// unused is an error for names and values that no expression mentions, as in the service.
func (x *expressions) unused() error {
	for _, k := range slices.Sorted(maps.Keys(x.names)) {
		if !x.used[k] {
			return refuse(validation, "name %s is used in no expression", k)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(x.values)) {
		if !x.used[k] {
			return refuse(validation, "value %s is used in no expression", k)
		}
	}
	return nil
}

// reader reads the words of one expression.
type reader struct {
	*expressions
	item  item
	words []string
}

func words(s string) (list []string) {
	for i := 0; i < len(s); {
		j := i
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\n':
			i++
			continue
		case letter(c):
			for j < len(s) && letter(s[j]) {
				j++
			}
		case c == '<' && i+1 < len(s) && (s[i+1] == '>' || s[i+1] == '='), c == '>' && i+1 < len(s) && s[i+1] == '=':
			j += 2
		default:
			j++
		}
		list = append(list, s[i:j])
		i = j
	}
	return list
}

func letter(c byte) bool {
	return c == '#' || c == ':' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func (r *reader) peek() string {
	if len(r.words) == 0 {
		return ""
	}
	return r.words[0]
}

func (r *reader) next() string {
	w := r.peek()
	if w != "" {
		r.words = r.words[1:]
	}
	return w
}

// word says whether the next word is this one, and passes it if so.
func (r *reader) word(w string) bool {
	if !strings.EqualFold(r.peek(), w) {
		return false
	}
	r.next()
	return true
}

func (r *reader) expect(w string) error {
	if got := r.next(); got != w {
		return refuse(validation, "expression: %q where %q is expected", got, w)
	}
	return nil
}

// path reads the name of a top-level attribute.
func (r *reader) path() (string, error) {
	w := r.next()
	if strings.HasPrefix(w, "#") {
		name, ok := r.names[w]
		if !ok {
			return "", refuse(validation, "expression: name %s is not given", w)
		}
		r.used[w] = true
		return name, nil
	}
	if w == "" || !letter(w[0]) || w[0] == ':' || w[0] >= '0' && w[0] <= '9' {
		return "", refuse(validation, "expression: %q where an attribute is expected", w)
	}
	return w, nil
}

// operand reads an attribute or a given value. An attribute that the item has not is a value without type.
func (r *reader) operand() (attribute, error) {
	if w := r.peek(); strings.HasPrefix(w, ":") {
		r.next()
		v, ok := r.values[w]
		if !ok {
			return v, refuse(validation, "expression: value %s is not given", w)
		}
		r.used[w] = true
		return v, nil
	}
	if r.word("if_not_exists") {
		if err := r.expect("("); err != nil {
			return attribute{}, err
		}
		p, err := r.path()
		if err != nil {
			return attribute{}, err
		}
		if err := r.expect(","); err != nil {
			return attribute{}, err
		}
		v, err := r.operand()
		if have, ok := r.item[p]; ok {
			v = have
		}
		if err != nil {
			return v, err
		}
		return v, r.expect(")")
	}
	p, err := r.path()
	return r.item[p], err
}

// condition evaluates a condition, filter or key condition over an item; an empty one holds.
func (x *expressions) condition(s string, it item) (bool, error) {
	if s == "" {
		return true, nil
	}
	r := &reader{x, it, words(s)}
	ok, err := r.or()
	if err == nil && r.peek() != "" {
		err = refuse(validation, "expression: %q is not understood", r.peek())
	}
	return ok, err
}

func (r *reader) or() (bool, error) {
	ok, err := r.and()
	for err == nil && r.word("OR") {
		var b bool
		b, err = r.and()
		ok = ok || b
	}
	return ok, err
}

func (r *reader) and() (bool, error) {
	ok, err := r.one()
	for err == nil && r.word("AND") {
		var b bool
		b, err = r.one()
		ok = ok && b
	}
	return ok, err
}

func (r *reader) one() (bool, error) {
	switch {
	case r.word("NOT"):
		ok, err := r.one()
		return !ok, err
	case r.word("("):
		ok, err := r.or()
		if err != nil {
			return false, err
		}
		return ok, r.expect(")")
	case r.word("attribute_exists"):
		return r.exists()
	case r.word("attribute_not_exists"):
		ok, err := r.exists()
		return !ok, err
	case r.word("begins_with"):
		return r.begins()
	}
	a, err := r.operand()
	if err != nil {
		return false, err
	}
	op := r.next()
	b, err := r.operand()
	if err != nil {
		return false, err
	}
	n, ordered := a.compare(b)
	switch op {
	case "=":
		return a.kind() != "" && a.same(b), nil
	case "<>":
		return !a.same(b), nil
	case "<":
		return ordered && n < 0, nil
	case "<=":
		return ordered && n <= 0, nil
	case ">":
		return ordered && n > 0, nil
	case ">=":
		return ordered && n >= 0, nil
	}
	return false, refuse(validation, "expression: %q is not understood", op)
}

func (r *reader) exists() (bool, error) {
	if err := r.expect("("); err != nil {
		return false, err
	}
	p, err := r.path()
	if err != nil {
		return false, err
	}
	_, ok := r.item[p]
	return ok, r.expect(")")
}

func (r *reader) begins() (bool, error) {
	if err := r.expect("("); err != nil {
		return false, err
	}
	a, err := r.operand()
	if err != nil {
		return false, err
	}
	if err := r.expect(","); err != nil {
		return false, err
	}
	b, err := r.operand()
	if err != nil {
		return false, err
	}
	return a.S != nil && b.S != nil && strings.HasPrefix(*a.S, *b.S), r.expect(")")
}

// update returns the item with an update expression done to it. All operands are those of the item before.
func (x *expressions) update(s string, before item) (item, error) {
	after := maps.Clone(before)
	r := &reader{x, before, words(s)}
	changed := map[string]bool{}
	for r.peek() != "" {
		section := strings.ToUpper(r.next())
		step := map[string]func(item) (string, error){"SET": r.set, "REMOVE": r.remove, "ADD": r.add, "DELETE": r.delete}[section]
		if step == nil {
			return nil, refuse(validation, "update: %q where SET, REMOVE, ADD or DELETE is expected", section)
		}
		for first := true; first || r.word(","); first = false {
			p, err := step(after)
			if err != nil {
				return nil, err
			}
			if changed[p] {
				return nil, refuse(validation, "update: %s is changed twice", p)
			}
			changed[p] = true
		}
	}
	return after, nil
}

func (r *reader) set(after item) (string, error) {
	p, err := r.path()
	if err != nil {
		return p, err
	}
	if err := r.expect("="); err != nil {
		return p, err
	}
	v, err := r.operand()
	if err != nil {
		return p, err
	}
	if op := r.peek(); op == "+" || op == "-" {
		r.next()
		w, err := r.operand()
		if err != nil {
			return p, err
		}
		if v, err = plus(v, w, op == "-"); err != nil {
			return p, err
		}
	}
	if v.kind() == "" {
		return p, refuse(validation, "update: an operand of %s does not exist", p)
	}
	after[p] = v
	return p, nil
}

func plus(a, b attribute, minus bool) (attribute, error) {
	if a.N == nil || b.N == nil {
		return a, refuse(validation, "update: an operand of + or - is not a number")
	}
	x, _ := number(*a.N)
	y, _ := number(*b.N)
	if minus {
		y = new(big.Rat).Neg(y)
	}
	s := digits(new(big.Rat).Add(x, y))
	return attribute{N: &s}, nil
}

func (r *reader) remove(after item) (string, error) {
	p, err := r.path()
	delete(after, p)
	return p, err
}

func (r *reader) add(after item) (string, error) {
	p, err := r.path()
	if err != nil {
		return p, err
	}
	v, err := r.operand()
	if err != nil {
		return p, err
	}
	switch have, ok := r.item[p]; {
	case v.N != nil && !ok:
		after[p] = v
	case v.N != nil:
		after[p], err = plus(have, v, false)
	case v.SS != nil && (!ok || have.SS != nil):
		all := append(slices.Clone(have.SS), v.SS...)
		slices.Sort(all)
		after[p] = attribute{SS: slices.Compact(all)}
	default:
		err = refuse(validation, "update: ADD is for numbers and sets of strings")
	}
	return p, err
}

func (r *reader) delete(after item) (string, error) {
	p, err := r.path()
	if err != nil {
		return p, err
	}
	v, err := r.operand()
	if err != nil {
		return p, err
	}
	have, ok := r.item[p]
	if v.SS == nil || ok && have.SS == nil {
		return p, refuse(validation, "update: DELETE is for sets of strings")
	}
	left := slices.DeleteFunc(slices.Clone(have.SS), func(s string) bool { return slices.Contains(v.SS, s) })
	if after[p] = (attribute{SS: left}); len(left) == 0 {
		delete(after, p)
	}
	return p, nil
}
