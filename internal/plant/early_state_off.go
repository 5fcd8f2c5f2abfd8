//go:build !plant_early_state

package plant

// EarlyState: state reaches the store before the epoch is committed.
const EarlyState = false
