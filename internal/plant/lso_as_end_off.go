//go:build !plant_lso_as_end

package plant

// LSOAsEnd: a restore ends at the last stable offset.
const LSOAsEnd = false
