//go:build !plant_offsets_first

package plant

// OffsetsFirst: positions are committed before the outputs are flushed.
const OffsetsFirst = false
