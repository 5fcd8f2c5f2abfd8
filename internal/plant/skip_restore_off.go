//go:build !plant_skip_restore

package plant

// SkipRestore: a task starts on local state without the changelog's tail.
const SkipRestore = false
