//go:build plant_children_first

package plant

// ChildrenFirst: a shard is read before those that it follows are read to their ends.
const ChildrenFirst = true
