package conformance

import (
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// imports are the packages of this module that a file imports.
func imports(t *testing.T, name string) (list []string) {
	const module = "github.com/millstream-go/millstream/"
	f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
	require.NoError(t, err)
	for _, i := range f.Imports {
		path, err := strconv.Unquote(i.Path.Value)
		require.NoError(t, err)
		if dir, ok := strings.CutPrefix(path, module); ok {
			list = append(list, dir)
		}
	}
	return list
}
