package stream_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Misuse that the types rule out: each marked line of testdata/misuse must be an error of the compiler, and no other.
func TestMisuseDoesNotCompile(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the compiler")
	}
	dir := filepath.Join("testdata", "misuse")
	out, err := exec.Command("go", "build", "-gcflags=-e", "./"+filepath.ToSlash(dir)).CombinedOutput()
	require.Error(t, err, "it compiled")

	got := map[int]string{} // by line; an error may go on in lines that begin with a tab
	last := 0
	for line := range strings.Lines(string(out)) {
		if m := regexp.MustCompile(`misuse\.go:(\d+):\d+: (.*)`).FindStringSubmatch(line); m != nil {
			last, err = strconv.Atoi(m[1])
			require.NoError(t, err)
			got[last] += m[2] + "\n"
		} else if last > 0 && line[0] == '\t' {
			got[last] += line
		}
	}

	f, err := os.Open(filepath.Join(dir, "misuse.go"))
	require.NoError(t, err)
	defer f.Close()
	wants := 0
	for s, n := bufio.NewScanner(f), 1; s.Scan(); n++ {
		m := regexp.MustCompile(`// want "(.*)"`).FindStringSubmatch(s.Text())
		if m == nil {
			require.Empty(t, got[n], "line %d", n)
			continue
		}
		wants++
		require.Regexp(t, m[1], got[n], "line %d", n)
	}
	require.Equal(t, wants, len(got), "%s", out)
	require.GreaterOrEqual(t, wants, 10)
}
