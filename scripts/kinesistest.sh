#!/usr/bin/env bash
# kinesistest.sh - kills and freezes the processes of an application on Kinesis while shards are split and merged, and compares
# everything it has written, and its state, with what it should be.
#
#   kinesistest.sh [--kills 20] [--reshards 6] [--seed 1] [--on fake|servers] [--rate N]
#   kinesistest.sh --plant NAME|all [--seed 1]    run with a known mistake; the checker must find it
#   kinesistest.sh ... [--keep DIR]               keep state and logs in DIR
#
# Three processes share the shards of a stream by leases in a DynamoDB table, and refine its records one by one into a second stream;
# a fourth drops from that what came twice and counts, with state (internal/kinesistest/topology.go). All four are killed, at any time and
# at every step of a commit, the fourth half the time with the loss of its disk, of which it has snapshots, and the three are frozen for longer than their leases last; both streams are split and merged
# meanwhile. The producers retry: some records are in the input several times, packed ones (KPL) too. A kill counts only if the
# process had committed since its start, and some process since the last kill.
#
# --on fake     Kinesis and DynamoDB of connect/kinesis/kinesistest in a process of their own: calls are throttled and fail, records are
#               refused, answers lost, iterators expire, all at random (500 records a second)
# --on servers  kinesis-local and moto, which scripts/kinesis.sh installs and starts; no faults but the kills (60 records a second)
#
# The last line is JSON:
#   kills, reshards    that counted; reshards of the input
#   disks              kills by which a disk was lost
#   frozen             processes that were stopped for longer than their leases
#   records, retried   of the input, those included that producers sent again; how many of them the driver sent again on purpose
#   lost, duplicated   records, after duplicates were dropped
#   wrong              values or state
#   out_of_order       records of a key
#   shards_skipped     shards that were not read, or were begun before those that they come from were read to their ends
#   steps              kills by place
#   plant, caught      with --plant; plants says it for each with --plant all
#
# Exit status: 0 correct, 1 the checker found a fault, 2 the run itself failed. A plant that is caught is a fault found, so status
# 1; --plant all is 0 if and only if all were caught.
#
# Plants: children-first    a shard is read before those that it comes from were read to their ends
#         checkpoint-first  positions are checkpointed before what was written is acknowledged
#         no-dedup          what comes twice is counted twice
#         unordered-writes  records of a key overtake each other in retries
#
# Needs Go; --on servers what scripts/kinesis.sh needs: Node 20, npm, Python 3 with venv, curl.
set -euo pipefail
export GOTOOLCHAIN=auto
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
all_plants='children-first checkpoint-first no-dedup unordered-writes'
say() { printf '%s\n' "$*" >&2; }
die() { say "kinesistest.sh: $*"; exit 2; }
usage() { sed -n '2,/^set -euo/p' "$0" | sed '$d; s/^# \{0,1\}//'; }

plant='' keep='' on=fake rate='' args=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --kills | --reshards | --seed) [[ $# -gt 1 ]] || die "$1 wants a value"; args+=("-${1#--}" "$2"); shift 2 ;;
    --rate) [[ $# -gt 1 ]] || die "--rate wants a value"; rate=$2; shift 2 ;;
    --on) [[ ${2:-} == fake || ${2:-} == servers ]] || die "--on wants fake or servers"; on=$2; shift 2 ;;
    --plant) [[ $# -gt 1 ]] || die "--plant wants a name"; plant=$2; shift 2 ;;
    --keep) [[ $# -gt 1 ]] || die "--keep wants a directory"; keep=$2; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; die "what is '$1'?" ;;
  esac
done
case $plant in
  '') builds=() ;;
  all) read -ra builds <<<"$all_plants" ;;
  *) [[ " $all_plants " == *" $plant "* ]] || die "there is no plant '$plant': use all, or one of: $all_plants"; builds=("$plant") ;;
esac
[[ -z $plant || $on == fake ]] || die "plants run on the fake"
: "${rate:=$([[ $on == fake ]] && echo 500 || echo 60)}"

if [[ -n $keep ]]; then mkdir -p "$keep"; tmp=$(cd "$keep" && pwd); else tmp=$(mktemp -d); fi
driver='' port=''
cleanup() {
  if [[ -n $driver ]]; then kill -TERM "$driver" 2>/dev/null && wait "$driver" 2>/dev/null || true; fi
  [[ -z $port ]] || "$root/scripts/kinesis.sh" stop --port "$port" || true
  [[ -n $keep ]] || rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

build() { # PLANT: some are no builds, but options
  [[ $1 != unordered-writes && $1 != no-dedup ]] || return 0
  (cd "$root" && go build -ldflags '-s -w' -tags "millstream_fault${1:+,plant_${1//-/_}}" -o "$tmp/bin/kinesistest${1:+-$1}" ./internal/kinesistest) || die "the build failed${1:+ (plant $1)}"
}
rm -rf "$tmp/bin" "$tmp/run" # of an earlier run
mkdir -p "$tmp/bin" "$tmp/run"
for b in '' ${builds[@]+"${builds[@]}"}; do build "$b"; done
if [[ $on == servers ]]; then
  for try in 1 2 3; do # three ports in a row that nobody has
    port=$((20000 + RANDOM % 20000))
    "$root/scripts/kinesis.sh" start --port "$port" >"$tmp/servers" && break
    [[ $try != 3 ]] || die "the servers do not start"
  done
  args+=(-kinesis "http://127.0.0.1:$((port + 1))" -dynamodb "http://127.0.0.1:$((port + 2))")
fi
"$tmp/bin/kinesistest" run -bins "$tmp/bin" -dir "$tmp/run" -rate "$rate" ${plant:+-plant "$plant"} ${args[@]+"${args[@]}"} &
driver=$!
status=0
wait "$driver" || status=$?
driver=''
exit "$status"
