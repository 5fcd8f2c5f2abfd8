package lint

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// maxLines is the length over which a Go file needs a reason.
const maxLines = 800

// checkLength finds files that are too long to be read from the top. Allowed are those listed with a reason; used
// returns which of them are really so long.
func checkLength(files []*file, allowed map[string]string) (problems []string, used map[string]bool) {
	used = map[string]bool{}
	for _, f := range files {
		n := bytes.Count(f.src, []byte("\n"))
		if n <= maxLines {
			continue
		}
		used[f.path] = true
		if allowed[f.path] == "" {
			problems = append(problems, fmt.Sprintf("%s has %d lines, more than %d: split it, or list it with a reason", f.path, n, maxLines))
		}
	}
	return problems, used
}

var (
	// somewhere is an absolute path on somebody's machine, or a path that leaves the repository.
	somewhere = regexp.MustCompile(`(^|[^\w.}~$-])/(work|home|Users)/[\w.]|(^|[^\w/.-])(shared|helpers)/(\w+[./]|[A-Z{])`)
	// shouted is a document named in capitals.
	shouted = regexp.MustCompile(`\b[A-Z][A-Z_-]{2,}\.md\b`)
)

// checkReferences finds references, in any text of the repository, to what its readers do not have: paths of somebody's
// machine, and documents that are not in it. The texts are by path.
func checkReferences(texts map[string][]byte) (problems []string) {
	have := map[string]bool{}
	for p := range texts {
		have[path.Base(p)] = true
	}
	for p, b := range texts {
		if bytes.IndexByte(b, 0) >= 0 { // not a text
			continue
		}
		n := 0
		for line := range strings.Lines(string(b)) {
			n++
			if m := somewhere.FindString(line); m != "" {
				problems = append(problems, fmt.Sprintf("%s:%d: %q is no path of this repository", p, n, strings.TrimSpace(m)))
			}
			for _, m := range shouted.FindAllString(line, -1) {
				if !have[m] {
					problems = append(problems, fmt.Sprintf("%s:%d: there is no document %s here", p, n, m))
				}
			}
		}
	}
	slices.Sort(problems)
	return problems
}
