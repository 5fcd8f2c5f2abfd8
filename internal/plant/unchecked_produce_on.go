//go:build plant_unchecked_produce

package plant

// UncheckedProduce: a failed produce does not abort the epoch.
const UncheckedProduce = true
