package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// module is the path of this module; an import below it is one of ours.
const module = "github.com/millstream-go/millstream"

// file is one parsed Go file. Its path is relative to the root of the module, with slashes.
type file struct {
	path string
	fset *token.FileSet
	ast  *ast.File
	src  []byte
}

func (f *file) test() bool { return strings.HasSuffix(f.path, "_test.go") }

// dir is the package's folder, "." for the root.
func (f *file) dir() string { return path.Dir(f.path) }

// at formats a problem with the place of a node.
func (f *file) at(n ast.Node, format string, args ...any) string {
	return fmt.Sprintf("%s:%d: %s", f.path, f.fset.Position(n.Pos()).Line, fmt.Sprintf(format, args...))
}

// imports returns the import specs with their unquoted paths.
func (f *file) imports() map[string]*ast.ImportSpec {
	m := map[string]*ast.ImportSpec{}
	for _, s := range f.ast.Imports {
		if p, err := strconv.Unquote(s.Path.Value); err == nil {
			m[p] = s
		}
	}
	return m
}

func parse(name string, src []byte) (*file, error) {
	fset := token.NewFileSet()
	a, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parsing: %w", err)
	}
	return &file{path: name, fset: fset, ast: a, src: src}, nil
}

// load parses every Go file of the module under root, whatever its build tags. Nested modules and test data are left out.
func load(root string) ([]*file, error) {
	var files []*file
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel == "." {
				return nil
			}
			_, err := os.Stat(filepath.Join(p, "go.mod"))
			if err == nil || strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(rel) != ".go" {
			return nil
		}
		src, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		f, err := parse(rel, src)
		if err != nil {
			return err
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

// under says whether a folder is one of these or lies below one of them.
func under(dir string, tops ...string) bool {
	for _, t := range tops {
		if dir == t || strings.HasPrefix(dir, t+"/") {
			return true
		}
	}
	return false
}

// library says whether a folder belongs to what users link: not a program, not a script, and not what kills programs.
func library(dir string) bool {
	return !under(dir, "examples", "benchmarks", "scripts", "internal/killtest", "internal/kinesistest")
}

// public says whether users can import the package in a folder.
func public(dir string) bool { return library(dir) && !under(dir, "internal") }
