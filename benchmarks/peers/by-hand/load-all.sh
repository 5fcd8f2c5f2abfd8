#!/usr/bin/env bash
# load-all.sh [BASE_MS]  fills the input topics of the workloads (4 partitions, lz4, murmur2 partitioning).
#
# BASE_MS is the event time of the first record, a multiple of 10000; default: one hour ago. Windowed changelogs of Kafka
# Streams are deleted by event age, so don't use a base older than a day for it.
# N (2000000): records of events; NJ (500000): of jleft and of jright; NKV (1000000): of kv, 0 = no such topic.
# LOAD: a built cmd/load; default: build one. Connection: KAFKA_BOOTSTRAP and friends, see scripts/kafka.sh env.
set -euo pipefail
cd "$(dirname "$0")"
base=${1:-$(( ($(date +%s) - 3600) / 10 * 10000 ))}
if [[ -z ${LOAD:-} ]]; then
  tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
  LOAD=$tmp/load
  go build -o "$LOAD" ./cmd/load
fi
nkv=${NKV:-1000000}
"$LOAD" -topic events -n "${N:-2000000}" -seed 1 -step 50 -late 0.05 -late-ms 3000 -base "$base"
"$LOAD" -topic users -n 10000 -seed 2 -serial -late 0 -step 0 -compact -base $((base - 60000)) # before the first event
"$LOAD" -topic jleft -n "${NJ:-500000}" -seed 3 -step 1000 -late 0 -base "$base"
"$LOAD" -topic jright -n "${NJ:-500000}" -seed 4 -step 1000 -late 0 -base "$base"
[[ $nkv == 0 ]] || "$LOAD" -topic kv -n "$nkv" -keys 1000000 -prefix key- -width 8 -serial -seed 5 -step 10 -late 0 -base "$base"
echo "base=$base"
