// Package store keeps the state of an application on the local disk: one Pebble database per process, in a directory
// that only one process opens at a time. It is the only package that imports Pebble.
//
//	<dir>/LOCK            held while the store is open
//	<dir>/instance-id     the identity of this instance, made once
//	<dir>/manifest.json   whose state this is and how it is laid out; see manifest.go
//	<dir>/seal.json       how much of the database's MANIFEST there must be; see seal.go
//	<dir>/db/             the Pebble database
//
// # What a caller can rely on
//
// A batch is applied whole or not at all, and batches are applied in the order in which they were committed. After the
// process was killed, or the machine lost its power, the store holds a prefix of the committed batches: every batch that
// was committed with sync, and of those committed without it all but perhaps the last few. Which ones it holds can be
// read from the positions that the caller keeps in the same batches; the changelog brings back the rest.
//
// The store holds what it is given. That no uncommitted state reaches it is the caller's part: a batch is committed
// here after the epoch it belongs to has been committed elsewhere, or is itself the commit point.
//
// # What a failing disk does
//
// The process that hosts the engine is never ended and the error is never hidden: see guard.go. After a failed write the
// store is faulted: every call returns the error, and Close abandons the database instead of closing it. What was
// committed before the failure is found by the next Open.
package store
