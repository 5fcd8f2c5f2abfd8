#!/usr/bin/env bash
# run.sh [NAME] - the micro-benchmarks, six times each, into results/NAME.txt (default: latest) in this folder, for benchstat:
#
#   benchmarks/micro/run.sh before          # then change something
#   benchmarks/micro/run.sh after
#   cd benchmarks/micro/results && go run golang.org/x/perf/cmd/benchstat@latest before.txt after.txt
#
# The steps of a record: decode, chain of 1, 4 and 16 operators, window assignment, cache hit and miss, windows, join probe,
# session merge, timer, pattern, handles of state, sink, adding up before a repartition, exchange in memory; of an epoch: encode,
# batch, apply; restore; the store's reads and writes; the sketch of hot keys; the sort of keys.
# Environment: COUNT (6), BENCHTIME (0.5s), BENCH (a pattern, default all). COUNT=3 BENCHTIME=20000x is a quick look, in less than a
# minute: a number of records must be a multiple of 10,000, which some of them do at a time.
#
# results/baseline.txt is kept in the repository.
set -euo pipefail
cd "$(dirname "$0")/../.."
export GOTOOLCHAIN=auto
out=benchmarks/micro/results/${1:-latest}.txt
mkdir -p benchmarks/micro/results
go test -run '^$' -bench "${BENCH:-.}" -skip RestoreWays -benchmem -count "${COUNT:-6}" -benchtime "${BENCHTIME:-0.5s}" \
  ./benchmarks/micro ./internal/store ./internal/task ./internal/keysort | tee "$out.new"
mv "$out.new" "$out"
