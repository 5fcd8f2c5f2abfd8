#!/usr/bin/env bash
# nightly.sh [PART...] - the full figures, too long for every push.
#
#   kills        200 kills, seed 1
#   growth       partitions, workers and instances grow and shrink, three seeds
#   plants       every planted bug must be found
#   snapshots    10,000 damages to snapshots, 5,000 runs with a failing store of objects
#   state        10,000 damages to state directories, power lost 4,000 times, 2,080 applications whose disk fails
#   cluster      15 minutes on a cluster of three brokers
#   kinesis      100 kills and 30 reshards on the service for tests, 20 and 6 on local servers, every planted mistake; leases and examples
#                on local servers, and leases beside a worker of the Kinesis Client Library
#   nexmark      every Nexmark query on the oracle's 2,000,000 events, in order and out of order
#   benchmarks   all rounds against all peers; results in benchmarks/results.json and results.md
#
# The seconds of each part are printed at the end; the status is 1 if one failed. Run .ci/run setup first on a new machine.
# Environment: KILLS (200), SEED (1), MINUTES (15), ROUNDS (3).
set -euo pipefail
cd "$(dirname "$0")/.."
export GOTOOLCHAIN=auto
tmp=$(mktemp -d)
export TMPDIR=$tmp
child=''
cleanup() {
  [[ -z $child ]] || kill -TERM -- "-$child" 2>/dev/null || true
  local f
  while IFS= read -r f; do scripts/kafka.sh wipe --dir "$(dirname "$f")" >/dev/null 2>&1 || true; done < <(find "$tmp" -name cluster.env 2>/dev/null)
  rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

part_kills() { scripts/killtest.sh --kills "${KILLS:-200}" --seed "${SEED:-1}"; }
part_growth() { for seed in 1 2 3; do scripts/killtest.sh --growth --seed $seed; done; }
part_plants() { scripts/killtest.sh --plant all --seed "${SEED:-1}"; }
part_snapshots() { go test -count=1 -timeout 30m ./internal/snapshot -damages 10000 -seeds 5000; }
part_state() {
  go test -count=1 -timeout 30m ./internal/store -damages 10000 -crashes 4000
  go test -count=1 -timeout 30m ./internal/e2e -run DiskFaults -faults 40
}
part_cluster() { scripts/clustertest.sh --minutes "${MINUTES:-15}" --seed "${SEED:-1}"; }
part_kinesis() {
  local port=${KINESIS_PORT:-14567} rc=0
  scripts/kinesistest.sh --kills 100 --reshards 30 --seed "${SEED:-1}"
  scripts/kinesistest.sh --kills 20 --reshards 6 --seed "${SEED:-1}" --on servers
  scripts/kinesistest.sh --plant all --seed "${SEED:-1}"
  scripts/kinesis.sh start --port "$port"
  scripts/kcl.sh build
  MILLSTREAM_INTEGRATION=1 KINESIS_ENDPOINT=http://127.0.0.1:$((port + 1)) DYNAMODB_ENDPOINT=http://127.0.0.1:$((port + 2)) \
    go test -count=1 -timeout 15m ./connect/kinesis/... ./examples/kinesis-... || rc=$?
  scripts/kinesis.sh stop --port "$port"
  return $rc
}
part_nexmark() { go test -count=1 -timeout 30m -run TestOracle ./benchmarks/nexmark -oracle; }
part_benchmarks() { benchmarks/run.sh --prepare && benchmarks/run.sh --rounds "${ROUNDS:-3}"; }

parts=("$@")
[[ ${#parts[@]} -gt 0 ]] || parts=(kills growth plants snapshots state cluster kinesis nexmark benchmarks)
failed=0 summary=()
for p in "${parts[@]}"; do
  declare -F "part_$p" >/dev/null || { echo "nightly.sh: no part '$p'" >&2; exit 2; }
  echo "=== $p"
  start=$SECONDS rc=0
  set -m
  (set +m; set -euo pipefail; trap - EXIT INT TERM HUP; "part_$p") &
  child=$!
  set +m
  wait "$child" || rc=$?
  child=''
  if [[ $rc -eq 0 ]]; then state=ok; else state="FAILED ($rc)" failed=1; fi
  summary+=("$(printf '%-11s %6d s  %s' "$p" $((SECONDS - start)) "$state")")
done
echo
printf '%s\n' "${summary[@]}"
exit $failed
