package millstream_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The program in the README compiles and passes vet.
func TestReadmeProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the compiler")
	}
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(readme, -1)
	require.Len(t, blocks, 1)
	program := filepath.Join(t.TempDir(), "main.go")
	require.NoError(t, os.WriteFile(program, blocks[0][1], 0o600))
	out, err := exec.Command("go", "vet", program).CombinedOutput() // it checks the types first
	require.NoError(t, err, "%s", out)
	out, err = exec.Command("gofmt", "-l", program).CombinedOutput()
	if err == nil { // not every Go installation has it
		require.Empty(t, string(out), "the program is not formatted")
	}
}

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
