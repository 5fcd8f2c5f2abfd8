//go:build !plant_unfenced_offsets

package plant

// UnfencedOffsets: positions are committed without member and generation.
const UnfencedOffsets = false
