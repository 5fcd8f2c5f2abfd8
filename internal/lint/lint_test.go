package lint

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../.."

// mayExit lists the functions of libraries that may panic: "file function" and why.
var mayExit = map[string]string{
	"internal/conformance/run.go Fatalf": "ends a run of the driver, and is recovered by it; the package is for tests alone",
	"internal/conformance/build.go var":  "cannot happen; the package is for tests alone",
}

// mayBeLong lists the Go files over maxLines, and why they are better in one piece.
var mayBeLong = map[string]string{}

func tree(t *testing.T) []*file {
	t.Helper()
	files, err := load(root)
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files
}

// none fails with every problem on a line of its own.
func none(t *testing.T, problems []string) {
	t.Helper()
	for _, p := range problems {
		t.Error(p)
	}
}

func needed(t *testing.T, exceptions map[string]string, used map[string]bool) {
	t.Helper()
	for e := range exceptions {
		if !used[e] {
			t.Errorf("the exception %q is not needed any more: delete it", e)
		}
	}
}

func TestImports(t *testing.T)     { none(t, checkImports(tree(t))) }
func TestCore(t *testing.T)        { none(t, checkCore(tree(t))) }
func TestSleeps(t *testing.T)      { none(t, checkSleeps(tree(t))) }
func TestExamples(t *testing.T)    { none(t, checkExamples(tree(t))) }
func TestDocs(t *testing.T)        { none(t, checkDocs(tree(t))) }
func TestPackageDocs(t *testing.T) { none(t, checkPackageDocs(tree(t))) }

func TestExits(t *testing.T) {
	problems, used := checkExits(tree(t), mayExit)
	none(t, problems)
	needed(t, mayExit, used)
}

func TestLength(t *testing.T) {
	problems, used := checkLength(tree(t), mayBeLong)
	none(t, problems)
	needed(t, mayBeLong, used)
}

func TestDependencies(t *testing.T) {
	gomod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	doc, err := os.ReadFile(filepath.Join(root, "docs", "dependencies.md"))
	require.NoError(t, err)
	none(t, checkDependencies(tree(t), requirements(string(gomod)), string(doc)))
}

func TestReferences(t *testing.T) {
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Skip("not a git checkout")
	}
	texts := map[string][]byte{}
	for p := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		b, err := os.ReadFile(filepath.Join(root, p))
		if os.IsNotExist(err) { // deleted, not committed yet
			continue
		}
		require.NoError(t, err)
		texts[p] = b
	}
	require.NotEmpty(t, texts)
	none(t, checkReferences(texts))
}

// A program that only speaks Kafka links nothing of AWS.
func TestQuickstartLinksNoAWS(t *testing.T) {
	if _, err := os.Stat(filepath.Join(root, "examples", "quickstart")); os.IsNotExist(err) {
		t.Skip("no examples/quickstart yet")
	}
	cmd := exec.Command("go", "list", "-deps", "./examples/quickstart")
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), module+"/stream")
	require.NotContains(t, string(out), "github.com/aws/")
}
