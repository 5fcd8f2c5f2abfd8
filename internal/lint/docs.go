package lint

import (
	"go/ast"
	"slices"
	"strings"
)

// selfExplaining are methods whose meaning the standard library has fixed.
var selfExplaining = []string{"String", "Error", "Unwrap"}

// checkDocs finds exported names of public packages without a doc comment: functions, types, methods of exported
// types and of exported interfaces, constants and variables (a group's comment counts for its members).
func checkDocs(files []*file) (problems []string) {
	for _, f := range files {
		if f.test() || !public(f.dir()) || f.ast.Name.Name == "main" {
			continue
		}
		for _, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Doc == nil && d.Name.IsExported() && exportedReceiver(d) && !(d.Recv != nil && slices.Contains(selfExplaining, d.Name.Name)) {
					problems = append(problems, f.at(d, "%s has no doc comment", d.Name.Name))
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					problems = append(problems, f.checkSpec(d, s)...)
				}
			}
		}
	}
	return problems
}

func (f *file) checkSpec(d *ast.GenDecl, s ast.Spec) (problems []string) {
	switch s := s.(type) {
	case *ast.TypeSpec:
		if !s.Name.IsExported() {
			return nil
		}
		if s.Doc == nil && d.Doc == nil {
			problems = append(problems, f.at(s, "%s has no doc comment", s.Name.Name))
		}
		if i, ok := s.Type.(*ast.InterfaceType); ok {
			before := "" // a comment may speak of two methods in a row, such as pause and resume
			for _, m := range i.Methods.List {
				if m.Doc != nil {
					before = m.Doc.Text()
				}
				if len(m.Names) == 1 && m.Names[0].IsExported() && m.Doc == nil && m.Comment == nil &&
					!strings.Contains(before, m.Names[0].Name) && !slices.Contains(selfExplaining, m.Names[0].Name) {
					problems = append(problems, f.at(m, "%s.%s has no doc comment", s.Name.Name, m.Names[0].Name))
				}
			}
		}
	case *ast.ValueSpec:
		for _, n := range s.Names {
			if n.IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
				problems = append(problems, f.at(n, "%s has no doc comment", n.Name))
			}
		}
	}
	return problems
}

// exportedReceiver is true for a function, and for a method of an exported type.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return true
	}
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

// checkPackageDocs finds packages of which no file has a package comment.
func checkPackageDocs(files []*file) (problems []string) {
	documented := map[string]bool{}
	for _, f := range files {
		if !f.test() {
			documented[f.dir()] = documented[f.dir()] || f.ast.Doc != nil
		}
	}
	for dir, ok := range documented {
		if !ok {
			problems = append(problems, dir+": the package has no package comment")
		}
	}
	slices.Sort(problems)
	return problems
}
