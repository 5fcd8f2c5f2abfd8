// Package e2e has the end-to-end tests: applications made with the public API, on a broker, from their first start to
// their last commit. The broker is the in-process one; with MILLSTREAM_INTEGRATION=1 it is the one at KAFKA_BOOTSTRAP.
package e2e
