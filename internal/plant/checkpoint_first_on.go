//go:build plant_checkpoint_first

package plant

// CheckpointFirst: positions are committed and checkpointed before what was written is acknowledged.
const CheckpointFirst = true
