package millstream_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every link of the documents leads to a file.
func TestLinks(t *testing.T) {
	docs, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	links := 0
	for _, doc := range append(docs, "README.md", "benchmarks/README.md") {
		text, err := os.ReadFile(doc)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(string(text), -1) {
			to, _, _ := strings.Cut(m[1], "#")
			if to == "" || strings.Contains(to, "://") {
				continue
			}
			links++
			require.FileExists(t, filepath.Join(filepath.Dir(doc), filepath.FromSlash(to)), "a link of %s", doc)
		}
	}
	require.NotZero(t, links)
}

// Every package that the tour names exists.
func TestTour(t *testing.T) {
	tour, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	names := regexp.MustCompile(`\[github\.com/millstream-go/millstream/([\w/]+)\]`).FindAllStringSubmatch(string(tour), -1)
	require.NotEmpty(t, names)
	for _, m := range names {
		require.DirExists(t, filepath.FromSlash(m[1]))
	}
}
