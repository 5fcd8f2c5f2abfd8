//go:build plant_no_transaction

package plant

// NoTransaction: outputs are written outside of the transaction.
const NoTransaction = true
