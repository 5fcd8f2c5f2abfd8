// Package conformance runs cases that other engines have produced, and compares the results.
//
// A case is a JSON file: a graph of operators, the input step by step, and what the engine that made it put out at each
// step; testdata/vectors/FORMAT.md describes it. Each case is built from its nodes with the public DSL and run by the
// test driver of package streamtest, so through the tasks, stores and commits of production: as it is, with a commit
// and a restart after every step, and with no cache. The results must be the same in all three.
//
// What an operator does is known to the engine alone. Here is only how a node of a case is written in the DSL (one file
// for each family of nodes, named after the engine that it comes from), and the small functions that the format names.
// An operator, field, function or way of comparing that is not known fails the case; nothing is skipped.
package conformance
