package lint

import (
	"fmt"
	"go/ast"
	"regexp"
	"slices"
	"strings"
)

// withOperators are the packages whose methods are what a topology, or a pattern, is made of, and handsOut the types of
// results that make a method one of these.
var (
	withOperators = []string{"stream", "pattern"}
	handsOut      = regexp.MustCompile(`^(Stream|Keyed|.*Table|Grouped|Windowed|Aggregated|Cogrouped.*|Joined|AsOf|Deduplicated|Detected|Pattern|state\..*)$`)
)

// checkExamples says which operators no runnable Example shows. An operator is an exported method with such a result. It is
// shown by an Example with an output that calls it; if several types have a method of its name, by one that has the type in
// its name: ExampleTable_Join.
func checkExamples(files []*file) (problems []string) {
	type operator struct {
		f          *file
		d          *ast.FuncDecl
		typ, named string
	}
	var operators []operator
	types := map[string]int{} // how many have a method of the name
	shown := map[string]bool{}
	for _, f := range files {
		for _, decl := range f.ast.Decls {
			d, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if f.test() {
				if name := d.Name.Name; d.Recv == nil && strings.HasPrefix(name, "Example") && f.hasOutput(d) {
					typ, _, _ := strings.Cut(strings.TrimPrefix(name, "Example"), "_")
					ast.Inspect(d.Body, func(n ast.Node) bool {
						if s, ok := n.(*ast.SelectorExpr); ok {
							shown[s.Sel.Name], shown[typ+"."+s.Sel.Name] = true, true
						}
						return true
					})
				}
				continue
			}
			if !slices.Contains(withOperators, f.dir()) || d.Recv == nil || !exportedReceiver(d) || !d.Name.IsExported() || !f.makesOne(d) {
				continue
			}
			typ, _ := base(d.Recv.List[0].Type)
			operators = append(operators, operator{f, d, typ, d.Name.Name})
			types[f.dir()+"."+d.Name.Name]++
		}
	}
	for _, o := range operators {
		name, where := o.named, "an Example"
		if types[o.f.dir()+"."+name] > 1 {
			name = o.typ + "." + name
			where = fmt.Sprintf("an Example%s_%s, or another Example of %s", o.typ, o.named, o.typ)
		}
		if !shown[name] {
			problems = append(problems, o.f.at(o.d, "%s.%s is an operator that no runnable example shows: call it in %s with an output", o.typ, o.named, where))
		}
	}
	return problems
}

// hasOutput says that a function's example is run: it has a comment with its output.
func (f *file) hasOutput(d *ast.FuncDecl) bool {
	for _, c := range f.ast.Comments {
		if d.Body.Pos() <= c.Pos() && c.End() <= d.Body.End() {
			if text := c.Text(); strings.HasPrefix(text, "Output:") || strings.HasPrefix(text, "Unordered output:") {
				return true
			}
		}
	}
	return false
}

// makesOne says that a method's first result makes it an operator.
func (f *file) makesOne(d *ast.FuncDecl) bool {
	if d.Type.Results == nil {
		return false
	}
	name, from := base(d.Type.Results.List[0].Type)
	if from != "" {
		name = from + "." + name
	}
	return handsOut.MatchString(name)
}

// base is the name of a type without its parameters, and the package that it is named with.
func base(x ast.Expr) (name, from string) {
	switch x := x.(type) {
	case *ast.StarExpr:
		return base(x.X)
	case *ast.ArrayType:
		return base(x.Elt)
	case *ast.IndexExpr:
		return base(x.X)
	case *ast.IndexListExpr:
		return base(x.X)
	case *ast.Ident:
		return x.Name, ""
	case *ast.SelectorExpr:
		if p, ok := x.X.(*ast.Ident); ok {
			return x.Sel.Name, p.Name
		}
	}
	return "", ""
}
