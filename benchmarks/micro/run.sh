#!/usr/bin/env bash
# run.sh [NAME] - the micro-benchmarks, six times each, into NAME.txt (default: latest) in this folder, for benchstat:
#
#   benchmarks/micro/run.sh before          # then change something
#   benchmarks/micro/run.sh after
#   go run golang.org/x/perf/cmd/benchstat@latest benchmarks/micro/before.txt benchmarks/micro/after.txt
#
# The steps of a record: decode, chain of 1, 4 and 16 operators, window assignment, cache hit and miss, join probe, session
# merge, timer; of an epoch: encode, batch, apply; exchange in memory; restore; the store's reads and writes.
# Environment: COUNT (6), BENCHTIME (0.5s), BENCH (a pattern, default all).
set -euo pipefail
cd "$(dirname "$0")/../.."
export GOTOOLCHAIN=auto
out=benchmarks/micro/${1:-latest}.txt
go test -run '^$' -bench "${BENCH:-.}" -benchmem -count "${COUNT:-6}" -benchtime "${BENCHTIME:-0.5s}" \
  ./benchmarks/micro ./stream ./internal/store | tee "$out.new"
mv "$out.new" "$out"
