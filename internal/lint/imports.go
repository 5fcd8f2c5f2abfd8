package lint

import (
	"maps"
	"slices"
	"strings"
)

// The rules. All hold for files that are not tests.

// pure packages import the standard library only.
var pure = []string{"window", "pattern", "stream/codec", "onerror", "internal/eventtime", "internal/invariants", "internal/fault", "internal/plant"}

// contracts describe sources, sinks and state to users: they import codecs and each other's leaves, never the DSL, the
// engine or a client library.
var contracts = map[string][]string{
	"source": {"stream/codec", "onerror", "window"},
	"sink":   {"stream/codec", "onerror", "window", "source"},
	"state":  {"stream/codec", "onerror", "window"},
}

// core is the engine without its surroundings: a step function, driven from outside.
var core = []string{"internal/task", "internal/plan", "internal/operator"}

// above may import the DSL.
var above = []string{"stream", "examples", "benchmarks", "scripts", "internal/simtest", "internal/conformance", "internal/killtest", "internal/kinesistest"}

// belowDSL are the packages of the engine that the DSL may import.
var belowDSL = []string{"internal/plan", "internal/operator", "internal/runtime", "internal/task", "internal/eventtime"}

// homes says where a dependency may be imported in library packages. What is not here may be imported nowhere.
var homes = map[string][]string{
	"github.com/cockroachdb/pebble/v2":    {"internal/store"},
	"github.com/twmb/franz-go":            {"connect/kafka"},
	"github.com/twmb/franz-go/pkg/kadm":   {"connect/kafka"},
	"github.com/pierrec/lz4/v4":           {"connect/kafka"},
	"github.com/twmb/franz-go/pkg/kmsg":   {"connect/kafka"},
	"github.com/twmb/franz-go/pkg/sr":     {"connect/kafka"},
	"github.com/twmb/franz-go/pkg/kfake":  {"connect/kafka/"}, // only below it: in a package for tests
	"github.com/aws/":                     {"connect/kinesis"},
	"google.golang.org/protobuf":          {"stream/codec/", "connect/kinesis/kpl"},
	"github.com/prometheus/client_golang": {"metrics/prom"},
	"go.opentelemetry.io/otel":            {"metrics/otel"},
	"github.com/minio/minio-go/v7":        {"snapshot/s3"},
	"github.com/google/uuid":              {"internal"},
	"github.com/stretchr/testify":         {"stream/streamtest", "internal/conformance", "internal/simtest"},
	"pgregory.net/rapid":                  {"internal/conformance", "internal/simtest"},
	"go.uber.org/goleak":                  {"internal/conformance", "internal/simtest"},
}

// networks are what the core may not reach, however indirectly.
var networks = []string{"net", "net/http", "net/rpc", "crypto/tls", "github.com/cockroachdb/pebble", "github.com/twmb/franz-go", "github.com/aws/"}

func standard(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return !strings.Contains(first, ".")
}

// ours returns the folder of an import of this module.
func ours(imp string) (dir string, ok bool) {
	if imp == module {
		return ".", true
	}
	return strings.CutPrefix(imp, module+"/")
}

// checkImports applies the import rules.
func checkImports(files []*file) (problems []string) {
	direct := map[string]map[string]bool{} // folder -> all that its files import, tests left out
	for _, f := range files {
		if f.test() {
			continue
		}
		d := f.dir()
		if direct[d] == nil {
			direct[d] = map[string]bool{}
		}
		for imp, spec := range f.imports() {
			direct[d][imp] = true
			if why := forbidden(d, imp); why != "" {
				problems = append(problems, f.at(spec, "%s imports %s: %s", d, imp, why))
			}
		}
	}
	for _, d := range core {
		for imp, way := range reach(d, direct) {
			for _, n := range networks {
				if imp == n || strings.HasSuffix(n, "/") && strings.HasPrefix(imp, n) || !standard(n) && strings.HasPrefix(imp, n+"/") {
					problems = append(problems, d+": the core reaches "+imp+" by "+way+"; clients and stores belong to the shell around it")
				}
			}
		}
	}
	slices.Sort(problems)
	return problems
}

// forbidden says why a folder may not import something, or "".
func forbidden(dir, imp string) string {
	own, isOurs := ours(imp)
	if slices.Contains(pure, dir) && !standard(imp) {
		return "this package uses the standard library only"
	}
	if allowed, ok := contracts[dir]; ok && !standard(imp) && !(isOurs && slices.Contains(allowed, own)) {
		return "a contract imports only " + strings.Join(allowed, ", ") + " and the standard library"
	}
	if isOurs {
		switch {
		case (own == "stream" || own == "stream/streamtest") && !under(dir, above...):
			return "only programs, the test driver and conformance suites stand above the DSL"
		case !library(own) && library(dir):
			return "a library imports no program"
		case dir == "stream" && under(own, "internal") && !slices.Contains(belowDSL, own):
			return "of the engine's packages the DSL imports only " + strings.Join(belowDSL, ", ")
		case under(own, "connect/kafka", "connect/kinesis") && library(dir) && !under(dir, own, "connect/kafka", "connect/kinesis", "internal/conformance", "internal/simtest"):
			return "connectors are chosen by the program, never by the library"
		}
		return ""
	}
	if standard(imp) || !library(dir) {
		return ""
	}
	dep, places := home(imp)
	if dep == "" {
		return "this dependency has no home; give it one in internal/lint/imports.go and a line in docs/dependencies.md"
	}
	for _, p := range places {
		if strings.HasSuffix(p, "/") && strings.HasPrefix(dir, p) || !strings.HasSuffix(p, "/") && under(dir, p) {
			return ""
		}
	}
	return dep + " is imported only in " + strings.Join(places, ", ")
}

// home finds the entry of homes with the longest matching path.
func home(imp string) (dep string, places []string) {
	for d, p := range homes {
		if (imp == d || strings.HasPrefix(imp, strings.TrimSuffix(d, "/")+"/")) && len(d) > len(dep) {
			dep, places = d, p
		}
	}
	return dep, places
}

// reach returns everything that a folder imports through packages of this module, with the way there.
func reach(dir string, direct map[string]map[string]bool) map[string]string {
	found := map[string]string{}
	seen := map[string]bool{dir: true}
	type step struct{ dir, way string }
	queue := []step{{dir, dir}}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		for _, imp := range slices.Sorted(maps.Keys(direct[s.dir])) {
			if own, ok := ours(imp); ok {
				if !seen[own] {
					seen[own] = true
					queue = append(queue, step{own, s.way + " → " + own})
				}
			} else if _, ok := found[imp]; !ok {
				found[imp] = s.way
			}
		}
	}
	return found
}

// checkDependencies says which third-party modules are imported anywhere, tests too, and not explained in the document.
// The modules are those that go.mod requires.
func checkDependencies(files []*file, required []string, document string) (problems []string) {
	used := map[string]string{}
	for _, f := range files {
		for imp := range f.imports() {
			if _, isOurs := ours(imp); isOurs || standard(imp) {
				continue
			}
			best := ""
			for _, m := range required {
				if (imp == m || strings.HasPrefix(imp, m+"/")) && len(m) > len(best) {
					best = m
				}
			}
			if best == "" {
				problems = append(problems, f.path+": "+imp+" is in no module of go.mod")
				continue
			}
			used[best] = f.path
		}
	}
	for m, where := range used {
		if !strings.Contains(document, m+"`") && !strings.Contains(document, m+" ") {
			problems = append(problems, "docs/dependencies.md does not explain "+m+", which "+where+" imports")
		}
	}
	slices.Sort(problems)
	return slices.Compact(problems)
}

// requirements returns the module paths that a go.mod requires.
func requirements(gomod string) (mods []string) {
	block := false
	for line := range strings.Lines(gomod) {
		w := strings.Fields(line)
		switch {
		case len(w) >= 2 && w[0] == "require" && w[1] == "(":
			block = true
		case len(w) > 0 && w[0] == ")":
			block = false
		case len(w) >= 3 && w[0] == "require":
			mods = append(mods, w[1])
		case block && len(w) >= 2:
			mods = append(mods, w[0])
		}
	}
	return mods
}
