// Package plant holds the bugs that the kill test plants to prove that its checker finds them, each behind a build tag
// plant_<name>. In a normal build all are false constants, and the compiler drops what they guard.
package plant
