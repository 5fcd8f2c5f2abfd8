// Package lint holds the project's own rules, as functions over parsed source, and a test that applies them to the
// repository. A rule that exists only in a document is soon broken; these break the build.
//
//	imports.go   which package may import which, and where a dependency may show up
//	calls.go     what may not be called where: clocks and goroutines in the engine's core, exits in libraries, sleeps in tests
//	docs.go      every exported name and every package is documented
//	text.go      long files, and references to what is not in this repository
//
// Each rule has a self-test on planted source which shows that it can fail. An exception is one line in lint_test.go,
// with its reason; an exception that is not needed any more fails too.
package lint
