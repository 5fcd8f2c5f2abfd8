package lint

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// plant parses planted files, given as path and source.
func plant(t *testing.T, pathsAndSources ...string) (files []*file) {
	t.Helper()
	for i := 0; i < len(pathsAndSources); i += 2 {
		f, err := parse(pathsAndSources[i], []byte(pathsAndSources[i+1]))
		require.NoError(t, err)
		files = append(files, f)
	}
	return files
}

// one fails unless there is one problem and it says this; with "" there must be none.
func one(t *testing.T, problems []string, says string) {
	t.Helper()
	if says == "" {
		require.Empty(t, problems)
		return
	}
	require.Len(t, problems, 1)
	require.Contains(t, problems[0], says)
}

func TestImportRules(t *testing.T) {
	for name, c := range map[string]struct{ path, imp, says string }{
		"pure, standard library":     {"window/a.go", "time", ""},
		"pure, ours":                 {"window/a.go", module + "/source", "standard library only"},
		"pure, third party":          {"stream/codec/a.go", "google.golang.org/protobuf/proto", "standard library only"},
		"pure, event time":           {"internal/eventtime/a.go", "github.com/x/y", "standard library only"},
		"contract, codec":            {"source/a.go", module + "/stream/codec", ""},
		"contract, stream":           {"source/a.go", module + "/stream", "a contract imports only"},
		"contract, client":           {"sink/a.go", "github.com/twmb/franz-go/pkg/kgo", "a contract imports only"},
		"contract, state":            {"state/a.go", module + "/internal/store", "a contract imports only"},
		"stream from runtime":        {"internal/runtime/a.go", module + "/stream", "above the DSL"},
		"stream from connector":      {"connect/kafka/a.go", module + "/stream", "above the DSL"},
		"stream from example":        {"examples/x/main.go", module + "/stream", ""},
		"stream from test driver":    {"stream/streamtest/a.go", module + "/stream", ""},
		"stream from test":           {"internal/runtime/a_test.go", module + "/stream", ""},
		"store from stream":          {"stream/a.go", module + "/internal/store", "the DSL imports only"},
		"pebble at home":             {"internal/store/a.go", "github.com/cockroachdb/pebble/v2", ""},
		"pebble elsewhere":           {"internal/checkpoint/a.go", "github.com/cockroachdb/pebble/v2", "only in internal/store"},
		"pebble's package elsewhere": {"internal/runtime/a.go", "github.com/cockroachdb/pebble/v2/vfs", "only in internal/store"},
		"pebble in a benchmark":      {"benchmarks/x/main.go", "github.com/cockroachdb/pebble/v2", ""},
		"client at home":             {"connect/kafka/a.go", "github.com/twmb/franz-go/pkg/kgo", ""},
		"client elsewhere":           {"connect/a.go", "github.com/twmb/franz-go/pkg/kgo", "only in connect/kafka"},
		"fake broker for tests":      {"connect/kafka/kafkatest/a.go", "github.com/twmb/franz-go/pkg/kfake", ""},
		"fake broker in connector":   {"connect/kafka/a.go", "github.com/twmb/franz-go/pkg/kfake", "only in connect/kafka/"},
		"aws elsewhere":              {"connect/kafka/a.go", "github.com/aws/aws-sdk-go-v2/service/kinesis", "only in connect/kinesis"},
		"connector from runtime":     {"internal/runtime/a.go", module + "/connect/kafka", "chosen by the program"},
		"connector's own package":    {"connect/kafka/kafkatest/a.go", module + "/connect/kafka", ""},
		"unknown dependency":         {"internal/runtime/a.go", "github.com/x/y", "no home"},
		"testify in a library":       {"internal/runtime/a.go", "github.com/stretchr/testify/require", "only in"},
		"testify in a test":          {"internal/runtime/a_test.go", "github.com/stretchr/testify/require", ""},
		"core, network":              {"internal/operator/a.go", "net/http", "the core reaches net/http"},
		"kill test":                  {"internal/killtest/a.go", module + "/stream", ""},
		"kill test from library":     {"internal/runtime/a.go", module + "/internal/killtest", "imports no program"},
		"program from library":       {"internal/runtime/a.go", module + "/benchmarks/x", "imports no program"},
	} {
		t.Run(name, func(t *testing.T) {
			one(t, checkImports(plant(t, c.path, "package x\nimport _ \""+c.imp+"\"\n")), c.says)
		})
	}
	t.Run("core, client by a detour", func(t *testing.T) {
		problems := checkImports(plant(t,
			"internal/task/a.go", "package task\nimport _ \""+module+"/internal/changelog\"\n",
			"internal/changelog/a.go", "package changelog\nimport _ \""+module+"/internal/store\"\n",
			"internal/store/a.go", "package store\nimport _ \"github.com/cockroachdb/pebble/v2\"\n"))
		one(t, problems, "internal/task → internal/changelog → internal/store")
	})
}

func TestDependencyRules(t *testing.T) {
	mods := requirements("module m\nrequire github.com/a/b v1.0.0\nrequire (\n\tgithub.com/c/d/v2 v2.0.0 // indirect\n)\n")
	require.Equal(t, []string{"github.com/a/b", "github.com/c/d/v2"}, mods)
	files := plant(t, "a_test.go", "package a\nimport _ \"github.com/c/d/v2/e\"\n")
	one(t, checkDependencies(files, mods, "| `github.com/c/d/v2` | for tests |"), "")
	one(t, checkDependencies(files, mods, "| `github.com/c/d` |"), "does not explain github.com/c/d/v2")
	one(t, checkDependencies(files, mods[:1], ""), "in no module of go.mod")
}

func TestCoreRules(t *testing.T) {
	src := func(body string) string {
		return "package x\nimport \"time\"\nvar _ time.Time\nfunc f() {" + body + "}\n"
	}
	one(t, checkCore(plant(t, "internal/task/a.go", src("go f()"))), "internal/task/a.go:4: the core starts no goroutine")
	one(t, checkCore(plant(t, "internal/plan/a.go", src("_ = time.Now()"))), "time.Now")
	one(t, checkCore(plant(t, "internal/operator/a.go", src("now := time.Now; _ = now"))), "time.Now")
	one(t, checkCore(plant(t, "internal/task/a.go", "package x\nimport clock \"time\"\nvar t = clock.NewTimer(0)\n")), "time.NewTimer")
	one(t, checkCore(plant(t, "internal/task/a.go", src("_ = time.Second"))), "")
	one(t, checkCore(plant(t, "internal/runtime/a.go", src("go f(); _ = time.Now()"))), "")
	one(t, checkCore(plant(t, "internal/task/a_test.go", src("go f()"))), "")
}

func TestExitRules(t *testing.T) {
	src := "package x\nimport (\"os\"; \"log\")\nvar _ = log.Print\nvar _ = os.Args\nfunc f() {"
	exits := func(path, body string, allowed map[string]string) []string {
		problems, _ := checkExits(plant(t, path, src+body+"}\n"), allowed)
		return problems
	}
	one(t, exits("stream/a.go", `panic("x")`, nil), "panic in f")
	one(t, exits("internal/store/a.go", `os.Exit(1)`, nil), "os.Exit in f")
	one(t, exits("connect/a.go", `log.Fatalf("x")`, nil), "log.Fatalf in f")
	one(t, exits("stream/a.go", `log.Panicln("x")`, nil), "log.Panicln in f")
	one(t, exits("stream/a.go", `recover()`, nil), "")
	one(t, exits("examples/x/a.go", `panic("x")`, nil), "")
	one(t, exits("stream/a_test.go", `panic("x")`, nil), "")
	one(t, exits("stream/a.go", `panic("x")`, map[string]string{"stream/a.go f": "reason"}), "")
	one(t, exits("stream/a.go", `panic("x")`, map[string]string{"stream/a.go g": "reason"}), "panic in f")
}

func TestSleepRules(t *testing.T) {
	src := func(body string) string {
		return "package x\nimport (\"time\"; \"testing\"; \"testing/synctest\")\nfunc TestX(t *testing.T) {" + body + "}\n"
	}
	one(t, checkSleeps(plant(t, "a_test.go", src("time.Sleep(1)"))), "a_test.go:3")
	one(t, checkSleeps(plant(t, "a_test.go", src("synctest.Test(t, func(t *testing.T) { time.Sleep(1) })"))), "")
	one(t, checkSleeps(plant(t, "a_test.go", src("synctest.Test(t, func(t *testing.T) {}); time.Sleep(1)"))), "does not sleep")
	one(t, checkSleeps(plant(t, "a.go", src("time.Sleep(1)"))), "")
}

func TestDocRules(t *testing.T) {
	for name, c := range map[string]struct{ src, says string }{
		"function":          {"func F() {}", "F has no doc comment"},
		"documented":        {"// F is.\nfunc F() {}", ""},
		"not exported":      {"func f() {}", ""},
		"type":              {"type T struct{}", "T has no doc comment"},
		"method":            {"// T is.\ntype T struct{}\nfunc (t *T) M() {}", "M has no doc comment"},
		"generic method":    {"// T is.\ntype T[K, V any] struct{}\nfunc (t *T[K, V]) M() {}", "M has no doc comment"},
		"hidden type":       {"type t struct{}\nfunc (t) M() {}", ""},
		"String":            {"// T is.\ntype T int\nfunc (T) String() string { return \"\" }", ""},
		"two in a row":      {"// T is.\ntype T interface {\n\t// Pause stops, Resume goes on.\n\tPause()\n\tResume()\n}", ""},
		"interface method":  {"// T is.\ntype T interface { M() }", "T.M has no doc comment"},
		"constant":          {"const C = 1", "C has no doc comment"},
		"group of them":     {"// The constants.\nconst (\n\tC = 1\n\tD = 2\n)", ""},
		"group, line ends":  {"const (\n\tC = 1 // is one\n)", ""},
		"group, no comment": {"var (\n\tErrX = 1\n)", "ErrX has no doc comment"},
	} {
		t.Run(name, func(t *testing.T) {
			src := "package x\n\n" + c.src + "\n"
			one(t, checkDocs(plant(t, "source/a.go", src)), c.says)
			one(t, checkDocs(plant(t, "internal/task/a.go", src)), "")
		})
	}
	one(t, checkPackageDocs(plant(t, "a/a.go", "package a\n", "a/b.go", "// Package a is.\npackage a\n")), "")
	one(t, checkPackageDocs(plant(t, "a/a.go", "package a\n", "b/b_test.go", "package b\n")), "a: the package has no package comment")
}

func TestLengthRules(t *testing.T) {
	long := "package x\n" + strings.Repeat("// line\n", maxLines)
	problems, _ := checkLength(plant(t, "a.go", long), nil)
	one(t, problems, "a.go has 801 lines")
	problems, used := checkLength(plant(t, "a.go", long), map[string]string{"a.go": "a table"})
	require.Empty(t, problems)
	require.True(t, used["a.go"])
	problems, used = checkLength(plant(t, "a.go", "package x\n"), map[string]string{"a.go": "a table"})
	require.Empty(t, problems)
	require.False(t, used["a.go"], "an exception that is not needed is not used")
}

func TestReferenceRules(t *testing.T) {
	dir, missing := "wo"+"rk", strings.ToUpper("design")+".md"
	for text, says := range map[string]string{
		"see /" + dir + "/main/x.go":       "no path of this repository",
		"in sha" + "red/notes.txt it says": "no path of this repository",
		"/ho" + "me/me/x":                  "no path of this repository",
		"see " + missing + " for more":     "no document " + missing + " here",
		"see README.md":                    "",
		"a net" + dir + "/client":          "",
		"$HOME/x, ~/x and ${root}/x":       "",
		"a shared/exclusive lock":          "",
		"memory is shared and /tmp/x":      "",
		"\x00 /" + dir + "/main":           "",
	} {
		one(t, checkReferences(map[string][]byte{"a.md": []byte(text), "README.md": nil}), says)
	}
}

func TestExampleRules(t *testing.T) {
	operators := "package stream\ntype Stream[V any] struct{}\nfunc (s Stream[V]) Map[W any](f func(V) W) Stream[W] { return Stream[W]{} }\nfunc (s Stream[V]) Len() int { return 0 }\n" +
		"func (s Stream[V]) add() Stream[V] { return s }\n"
	other := "package stream\ntype Table struct{}\nfunc (s Table) Map(f func()) Table { return s }\n"
	example := func(name, output string) string {
		return "package stream_test\nfunc " + name + "() {\n\ts.Map(f)\n\t" + output + "\n}\n"
	}
	one(t, checkExamples(plant(t, "stream/a.go", operators)), "stream/a.go:3: Stream.Map is an operator that no runnable example shows")
	one(t, checkExamples(plant(t, "stream/a.go", operators, "stream/a_test.go", example("Example", "// Output: 1"))), "")
	one(t, checkExamples(plant(t, "stream/a.go", operators, "stream/a_test.go", example("Example", "// no output"))), "Stream.Map")
	one(t, checkExamples(plant(t, "stream/a.go", operators, "stream/a_test.go", example("TestMap", "// Output: 1"))), "Stream.Map")
	one(t, checkExamples(plant(t, "stream/a.go", operators, "stream/b.go", other, "stream/a_test.go", example("ExampleTable_Map", "// Output: 1"))), "ExampleStream_Map")
	one(t, checkExamples(plant(t, "elsewhere/a.go", operators)), "")
}
