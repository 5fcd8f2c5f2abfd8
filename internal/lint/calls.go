package lint

import (
	"go/ast"
	"slices"
	"strings"
)

// clocks are the functions of package time that read or wait for a real clock.
var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}

// selector returns "path.Name" for a use of an imported package's name, and "" for anything else.
func (f *file) selector(n ast.Node) string {
	s, ok := n.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	x, ok := s.X.(*ast.Ident)
	if !ok {
		return ""
	}
	for imp, spec := range f.imports() {
		name := imp[strings.LastIndex(imp, "/")+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if x.Name == name {
			return imp + "." + s.Sel.Name
		}
	}
	return ""
}

// checkCore finds clocks and goroutines in the engine's core: time comes to it as an argument, and its caller decides
// what runs at the same time, so that tests and simulations drive both.
func checkCore(files []*file) (problems []string) {
	for _, f := range files {
		if f.test() || !slices.Contains(core, f.dir()) {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if g, ok := n.(*ast.GoStmt); ok {
				problems = append(problems, f.at(g, "the core starts no goroutine"))
			}
			if name, ok := strings.CutPrefix(f.selector(n), "time."); ok && slices.Contains(clocks, name) {
				problems = append(problems, f.at(n, "the core reads no clock: time.%s", name))
			}
			return true
		})
	}
	return problems
}

// checkExits finds what would end the host's process: a library returns errors. Allowed are functions listed as
// "file function" with a reason; used returns which of them were needed.
func checkExits(files []*file, allowed map[string]string) (problems []string, used map[string]bool) {
	used = map[string]bool{}
	for _, f := range files {
		if f.test() || !library(f.dir()) || f.ast.Name.Name == "main" {
			continue
		}
		for _, d := range f.ast.Decls {
			name := "var"
			if fn, ok := d.(*ast.FuncDecl); ok {
				name = fn.Name.Name
			}
			ast.Inspect(d, func(n ast.Node) bool {
				what := f.selector(n)
				if c, ok := n.(*ast.CallExpr); ok {
					if id, ok := c.Fun.(*ast.Ident); ok && id.Name == "panic" {
						what = "panic"
					}
				}
				if what != "panic" && what != "os.Exit" && !strings.HasPrefix(what, "log.Fatal") && !strings.HasPrefix(what, "log.Panic") {
					return true
				}
				if key := f.path + " " + name; allowed[key] != "" {
					used[key] = true
				} else {
					problems = append(problems, f.at(n, "%s in %s: a library returns an error, it does not end the host's process", what, name))
				}
				return true
			})
		}
	}
	return problems, used
}

// checkSleeps finds time.Sleep in tests: it makes them slow on a fast machine and flaky on a slow one. In a synctest
// bubble, where time is not real, it is the way to let time pass.
func checkSleeps(files []*file) (problems []string) {
	for _, f := range files {
		if !f.test() {
			continue
		}
		bubbles := map[ast.Node]bool{}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if c, ok := n.(*ast.CallExpr); ok && f.selector(c.Fun) == "testing/synctest.Test" {
				bubbles[c] = true
			}
			return true
		})
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if bubbles[n] {
				return false
			}
			if f.selector(n) == "time.Sleep" {
				problems = append(problems, f.at(n, "a test waits for a signal or a condition, it does not sleep"))
			}
			return true
		})
	}
	return problems
}
