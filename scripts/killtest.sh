#!/usr/bin/env bash
# killtest.sh - kills and freezes the processes of an application that works on a real Kafka, and compares everything it
# has written, and its state, with what it should be: nothing lost, nothing doubled, nothing wrong.
#
#   killtest.sh [--kills 20] [--seed 1] [--guarantee exactly-once|at-least-once|at-most-once] [--rate 1500] [--standbys 0]
#   killtest.sh --growth [--seed 1]               partitions 4 → 12 of two topics, workers 1 → 4 → 2, instances
#                                                 1 → 3 → 2, one kill
#   killtest.sh --plant NAME|all [--seed 1]       run a build with a known mistake in it; the checker must find it
#   killtest.sh ... [--keep DIR]                  keep state, logs and the broker's log in DIR
#
# Three processes run a windowed topology with a repartition, timers and a table (internal/killtest/topology.go). They
# are killed at random moments and at every step of the commit protocol, and frozen for longer than their session. A
# kill counts only if the process had committed since its start, and some process since the last kill.
#
# The last line is JSON:
#   kills, zombies     that counted; zombies are those that outlived their session
#   records            of the input
#   lost, duplicated   records, results, timers
#   wrong              values, order of a key, or state
#   wiped              starts that did not find a task's state where they had left it
#   steps              kills by step of the protocol
#   restore_ms         from the start of a killed process to its first commit, p50 and p99
#   growth             with --growth: what has grown, and seconds until results of every new partition were committed
#   plant, caught      with --plant; plants says it for each with --plant all
#
# Exit status: 0 correct, 1 the checker found a fault, 2 the run itself failed (no build, no broker, an unknown name, too
# few kills). A plant that is caught is a fault found, so status 1; --plant all is 0 if and only if all were caught.
# at-least-once must lose nothing and reports what it doubled; at-most-once must double nothing and reports what it lost.
#
# Plants: no-transaction offsets-first unfenced-offsets no-toc-timers early-state skip-restore lso-as-end
#         unchecked-produce window-off-by-one
#
# Needs Go, and what scripts/kafka.sh needs.
set -euo pipefail
export GOTOOLCHAIN=auto
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
kafka=$root/scripts/kafka.sh
all_plants='no-transaction offsets-first unfenced-offsets no-toc-timers early-state skip-restore lso-as-end unchecked-produce window-off-by-one'

say() { printf '%s\n' "$*" >&2; }
die() { say "killtest.sh: $*"; exit 2; }
usage() { sed -n '2,/^set -euo/p' "$0" | sed '$d; s/^# \{0,1\}//'; }

plant='' keep='' args=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --kills | --seed | --guarantee | --rate | --standbys) [[ $# -gt 1 ]] || die "$1 wants a value"; args+=("-${1#--}" "$2"); shift 2 ;;
    --growth) args+=(-growth); shift ;;
    --plant) [[ $# -gt 1 ]] || die "--plant wants a name"; plant=$2; shift 2 ;;
    --keep) [[ $# -gt 1 ]] || die "--keep wants a directory"; keep=$2; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; die "what is '$1'?" ;;
  esac
done
case $plant in
  '') builds=('') ;;
  all) read -ra builds <<<" $all_plants" ;;
  *) [[ " $all_plants " == *" $plant "* ]] || die "there is no plant '$plant': use all, or one of: $all_plants"; builds=("$plant") ;;
esac

if [[ -n $keep ]]; then mkdir -p "$keep"; tmp=$(cd "$keep" && pwd); else tmp=$(mktemp -d); fi
driver='' builder=''
cleanup() {
  if [[ -n $builder ]]; then kill -TERM "$builder" 2>/dev/null || true; wait "$builder" 2>/dev/null || true; fi
  if [[ -n $driver ]]; then kill -TERM "$driver" 2>/dev/null && wait "$driver" 2>/dev/null || true; fi
  [[ -z $keep ]] || cp "$tmp"/kafka/node1/server.log "$tmp/kafka.log" 2>/dev/null || true
  "$kafka" wipe --dir "$tmp/kafka" >/dev/null 2>&1 || true
  [[ -n $keep ]] || rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

build() { # PLANT: the processes; without a plant also the driver
  local tags=millstream_fault
  [[ -z $1 ]] || tags+=,plant_${1//-/_}
  local name=killtest${1:+-$1}
  (cd "$root" && go build -ldflags '-s -w' -tags "$tags" -o "$tmp/$name" ./internal/killtest) || die "the build failed${1:+ (plant $1)}"
  mv "$tmp/$name" "$tmp/bin/$name" # complete, for the driver that waits for it
}
build_plants() { # one after the other; the driver begins with what is there
  local b
  for b in "${builds[@]}"; do [[ -z $b ]] || (build "$b") || { touch "$tmp/bin/failed"; return 1; }; done
}
rm -rf "$tmp/bin" "$tmp/run" # of an earlier run
mkdir -p "$tmp/bin" "$tmp/run"
build ''
# Sessions are short, so that zombies outlive them soon. The coordinator ends forgotten transactions so rarely that only
# the group's generation fences a zombie.
brokers=$("$kafka" start --fresh --port free --dir "$tmp/kafka" --set group.min.session.timeout.ms=1000 \
  --set transaction.abort.timed.out.transaction.cleanup.interval.ms=30000) || die "the broker does not start"
if [[ $plant == all ]]; then
  build_plants &
  builder=$!
else
  build_plants || exit 2
fi
"$tmp/bin/killtest" run -brokers "$brokers" -bins "$tmp/bin" -dir "$tmp/run" ${plant:+-plant "$plant"} ${args[@]+"${args[@]}"} &
driver=$!
status=0
wait "$driver" || status=$?
driver=''
exit "$status"
