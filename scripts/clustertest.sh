#!/usr/bin/env bash
# clustertest.sh - an application of three instances on a cluster of three brokers, while instances come and go and brokers
# fail, and a comparison of everything it has written, and its state, with what it should be.
#
#   clustertest.sh [--minutes 15] [--seed 1] [--rate 1000] [--standbys 1] [--keep DIR]
#
# Each task's state is also kept by another instance (--standbys 0: by none).
# Every topic has three replicas, of which two must have a record, internal topics too. Instances are ended by SIGTERM,
# leave the group, are killed by SIGKILL (some come back at once, some later), are frozen by SIGSTOP for longer than their
# session, and others join. Meanwhile one broker after the other is stopped or killed in turn, each only when all
# replicas of all partitions are in sync.
#
# The last line is JSON, as that of killtest.sh, with
#   broker_bounces     brokers that were stopped or killed, and started again
#   leaves             instances that left the group
#   standstill_s       the longest time without a committed result
#   rolling            before that, with nothing failing and few records: three processes are replaced one after the other
#                      (moved: tasks that moved, none may; caught_up_s: seconds until the lag was below 1,000 records, 5 at
#                      most), one is killed (takeover_s: seconds until others have all its tasks and commit, 4 at most,
#                      which is its session and 1 s; cold: tasks of its of which nobody had a copy), and one leaves
#                      (leave_s: seconds until others go on, 1 at most)
#   warm               after it: an instance joins without state, makes itself copies, and asks for the tasks when they are near
#                      (asked: how often; copied: tasks with state that came to it when it had a copy)
#   missed             which of these figures are not what they should be; standstill_s may be 30 at most
#
# Exit status: 0 correct, 1 the checker found a fault, 2 the run itself failed. --keep keeps state, logs and, after a
# fault, the topics as text. Needs Go, and what scripts/kafka.sh needs.
set -euo pipefail
export GOTOOLCHAIN=auto
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
kafka=$root/scripts/kafka.sh
export KAFKA_HEAP=${KAFKA_HEAP:-512m} KAFKA_JAVA_OPTS=${KAFKA_JAVA_OPTS:--XX:TieredStopAtLevel=1} # three of them start again and again

say() { printf '%s\n' "$*" >&2; }
die() { say "clustertest.sh: $*"; exit 2; }
usage() { sed -n '2,/^set -euo/p' "$0" | sed '$d; s/^# \{0,1\}//'; }

keep='' args=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --minutes | --seed | --rate | --standbys) [[ $# -gt 1 ]] || die "$1 wants a value"; args+=("-${1#--}" "$2"); shift 2 ;;
    --keep) [[ $# -gt 1 ]] || die "--keep wants a directory"; keep=$2; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; die "what is '$1'?" ;;
  esac
done

if [[ -n $keep ]]; then mkdir -p "$keep"; tmp=$(cd "$keep" && pwd); else tmp=$(mktemp -d); fi
driver=''
cleanup() {
  if [[ -n $driver ]]; then kill -TERM "$driver" 2>/dev/null && wait "$driver" 2>/dev/null || true; fi
  [[ -z $keep ]] || for n in 1 2 3; do cp "$tmp/kafka/node$n/server.log" "$tmp/kafka$n.log" 2>/dev/null || true; done
  "$kafka" wipe --dir "$tmp/kafka" >/dev/null 2>&1 || true
  [[ -n $keep ]] || rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# A dead instance's transaction holds its successors up until its coordinator looks for those whose time is over. By
# default it does so every 10 s.
rm -rf "$tmp/run" # of an earlier run
mkdir -p "$tmp/run"
(cd "$root" && go build -ldflags '-s -w' -tags millstream_fault -o "$tmp/killtest" ./internal/killtest) || die "the build failed"
brokers=$("$kafka" start --fresh --nodes 3 --port free --dir "$tmp/kafka" --set group.min.session.timeout.ms=1000 \
  --set transaction.abort.timed.out.transaction.cleanup.interval.ms=1000 --set num.network.threads=1 --set num.io.threads=2 --set num.replica.fetchers=1) || die "the brokers do not start"
"$tmp/killtest" cluster -brokers "$brokers" -bin "$tmp/killtest" -dir "$tmp/run" -kafka "$kafka" -kafka-dir "$tmp/kafka" ${args[@]+"${args[@]}"} &
driver=$!
status=0
wait "$driver" || status=$?
driver=''
exit "$status"
