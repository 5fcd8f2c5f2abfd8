#!/usr/bin/env bash
# run.sh - Millstream and its peers on the same topics of a real Kafka, in turn, with verified outputs.
#
#   run.sh --prepare              download and build everything, measure nothing
#   run.sh --quick                1,000,000 records, against the loops by hand
#   run.sh                        2,000,000 records, against Kafka Streams too
#
#   --only W1,W2                  these workloads (W1 W2 W3; W4 and W5 where the engine has them)
#   --rounds N                    rounds, 3
#   --peers by-hand,kafka-streams engines beside Millstream
#   --guarantee exactly-once|at-least-once
#   --records N                   records of the main topic
#   --workers N                   Millstream's workers; default: its own
#   --verify-all                  check outputs in every round, not only in the first
#   --keep DIR                    leave the run's files (logs, runs.jsonl) in DIR
#
# Results: benchmarks/results.json and benchmarks/results.md, and the table on stdout. Status 1 if an output is wrong or
# unchecked, or an engine failed or is missing.
# Environment: MILLSTREAM_BIN (a built benchmarks/kafka, instead of building it), BENCH_CACHE (built programs),
# BENCH_TIMEOUT (seconds for one run, 300), and that of scripts/kafka.sh.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/.." && pwd)
export GOTOOLCHAIN=auto
cache=${BENCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/millstream-bench}
bin=$cache/bin
kafka=$root/scripts/kafka.sh
run_timeout=${BENCH_TIMEOUT:-300}

quick=no only=W1,W2,W3 rounds=3 peers='' guarantee=exactly-once records='' workers='' verify_all=no keep='' prepare_only=no
say() { printf '%s\n' "$*" >&2; }
die() { say "run.sh: $*"; exit 1; }
usage() { sed -n '2,/^set -euo/p' "$0" | sed '$d; s/^# \{0,1\}//'; }
while [[ $# -gt 0 ]]; do
  case $1 in
    --prepare) prepare_only=yes; shift ;;
    --quick) quick=yes; shift ;;
    --only) only=$2; shift 2 ;;
    --rounds) rounds=$2; shift 2 ;;
    --peers) peers=$2; shift 2 ;;
    --guarantee) guarantee=$2; shift 2 ;;
    --records) records=$2; shift 2 ;;
    --workers) workers=$2; shift 2 ;;
    --verify-all) verify_all=yes; shift ;;
    --keep) keep=$2; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; die "what is '$1'?" ;;
  esac
done
[[ $guarantee == exactly-once || $guarantee == at-least-once ]] || die "--guarantee must be exactly-once or at-least-once"
[[ $rounds =~ ^[1-9][0-9]*$ ]] || die "--rounds must be a number"
if [[ $quick == yes ]]; then : "${records:=1000000}" "${peers:=by-hand}"; else : "${records:=2000000}" "${peers:=by-hand,kafka-streams}"; fi
nj=$((records / 4))
IFS=, read -ra workloads <<<"$only"
IFS=, read -ra engines <<<"millstream,$peers"
for w in "${workloads[@]}"; do [[ $w =~ ^W[1-5]$ ]] || die "unknown workload '$w'"; done
for e in "${engines[@]}"; do [[ $e =~ ^(millstream|by-hand|kafka-streams)$ ]] || die "unknown engine '$e'"; done
has() { local e; for e in "${engines[@]}"; do [[ $e != "$1" ]] || return 0; done; return 1; }

# ---------------------------------------------------------------- untimed: download and build
prepare() {
  mkdir -p "$bin"
  say "run.sh: broker"; "$kafka" fetch >/dev/null
  say "run.sh: programs"
  (cd "$here/peers/by-hand" && go build -o "$bin/" ./cmd/limit ./cmd/load ./cmd/verify ./cmd/lat)
  (cd "$root" && go build -o "$bin/report" ./benchmarks/report)
  if [[ -z ${MILLSTREAM_BIN:-} ]]; then
    [[ -d $here/kafka ]] || die "no benchmarks/kafka to build (or set MILLSTREAM_BIN)"
    (cd "$root" && go build -o "$bin/millstream" ./benchmarks/kafka)
  fi
  if has kafka-streams || [[ $prepare_only == yes ]]; then
    local ks=$here/peers/kafka-streams
    if [[ ! -d $ks/target/libs || $ks/src/main/java/ksbench/Bench.java -nt $ks/target/classes/ksbench/Bench.class ]]; then
      say "run.sh: Kafka Streams"
      command -v mvn >/dev/null || die "mvn is needed to build Kafka Streams' program (or leave it out: --peers by-hand)"
      # shellcheck disable=SC2086
      mvn -q -B -f "$ks/pom.xml" ${MVN_ARGS:-} package
    fi
  fi
}
prepare
[[ $prepare_only == no ]] || { say "run.sh: prepared"; exit 0; }
millstream=${MILLSTREAM_BIN:-$bin/millstream}
[[ -x $millstream ]] || die "no program $millstream"

# ---------------------------------------------------------------- a broker of its own, and the input
tmp=$(mktemp -d)
cleanup() {
  "$kafka" wipe --dir "$tmp/kafka" >/dev/null 2>&1 || true
  if [[ -n $keep ]]; then mkdir -p "$keep" && cp -r "$tmp"/*.jsonl "$tmp/logs" "$keep/" 2>/dev/null || true; fi
  rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
mkdir -p "$tmp/logs"
port_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
start_broker() { # two ports in a row, below the range from which clients take theirs
  local i port
  for i in 1 2 3 4 5; do
    port=$((20000 + RANDOM % 6000 * 2))
    port_free "$port" && port_free $((port + 1)) || continue
    "$kafka" start --fresh --port "$port" --dir "$tmp/kafka" >"$tmp/logs/broker" 2>&1 && { tail -1 "$tmp/logs/broker"; return 0; }
  done
  cat "$tmp/logs/broker" >&2; return 1
}
brokers=$(start_broker | grep -o '127.0.0.1:[0-9]*$') || die "the broker does not start"
export KAFKA_BOOTSTRAP=$brokers
say "run.sh: Kafka on $brokers; loading $records records"
base=$(LOAD=$bin/load N=$records NJ=$nj NKV=0 "$here/peers/by-hand/load-all.sh" | sed -n 's/^base=//p')

# ---------------------------------------------------------------- one run
runs=$tmp/runs.jsonl
: >"$runs"
mode_of() { case $1 in W2:* | W3:*) echo "${1#*:}, $guarantee" ;; *) echo "$guarantee" ;; esac; } # W2:update -> "update, exactly-once"
input_of() { if [[ $1 == W4 ]]; then echo jleft,jright; elif [[ $1 == W5 ]]; then echo events,users; else echo events; fi; }

# The command of an engine for a case; it prints one JSON line as the last of its stdout.
command_of() { # engine case out -> the array cmd, or status 1 if it has no such case
  local engine=$1 w=${2%%:*} emit=update out=$3 n=$records
  [[ $2 != *:* ]] || emit=${2#*:}
  [[ $w != W4 ]] || n=$((2 * nj))
  local lower; lower=$(tr 'W' 'w' <<<"$w")
  case $engine in
    millstream)
      cmd=("$millstream" -workload "$w" -emit "$emit" -guarantee "$guarantee" -brokers "$brokers" -in "$(input_of "$w")" -out "$out")
      [[ -z $workers ]] || cmd+=(-workers "$workers") ;;
    by-hand)
      local m=$lower-txn
      if [[ $guarantee == at-least-once ]]; then [[ $w == W1 ]] || return 1; m=w1-plain; fi
      cmd=("$bin/limit" -mode "$m" -n "$n" -out "$out" -dir "$tmp/state" -json)
      [[ $emit != update ]] || cmd+=(-all) ;;
    kafka-streams)
      local g=exactly_once_v2 c=off
      [[ $guarantee == exactly-once ]] || g=at_least_once
      [[ $emit == update ]] || c=on
      cmd=("$here/peers/kafka-streams/run.sh" "w=$lower" "n=$n" "bootstrap=$brokers" "out=$out" "guarantee=$g" "cache=$c" "state=$tmp/state" json=yes) ;;
  esac
}
verify() { # case out -> yes or no
  local w=${1%%:*} args=(-n "$records" -nj "$nj" -base "$base" -topic "$2")
  [[ $1 != *:update || $guarantee != exactly-once ]] || args+=(-every-update)
  [[ $guarantee == exactly-once || $w == W2 || $w == W3 ]] || args+=(-at-least-once)
  if "$bin/verify" -w "$(tr 'W' 'w' <<<"$w")" "${args[@]}" >"$tmp/logs/$2.verify" 2>&1; then echo yes; else say "$(tail -1 "$tmp/logs/$2.verify")"; echo no; fi
}
one() { # engine case round
  local engine=$1 case=$2 round=$3 cmd=() line rc=0 verified='' load
  local out=out-$engine-${case/:/-}-$round
  command_of "$engine" "$case" "$out" || return 0
  "$bin/load" -n 0 -topic "$out" >/dev/null # an empty topic of 4 partitions
  mkdir -p "$tmp/state" "$tmp/tmp"
  TMPDIR=$tmp/tmp timeout "$run_timeout" "${cmd[@]}" >"$tmp/logs/$out" 2>"$tmp/logs/$out.err" </dev/null || rc=$?
  load=$(cut -d' ' -f1 /proc/loadavg 2>/dev/null || echo 0)
  rm -rf "$tmp/state" "$tmp/tmp"
  line=$(grep '^{.*}$' "$tmp/logs/$out" | tail -1) || true
  local head
  head=$(printf '"workload":"%s","mode":"%s","engine":"%s","round":%d' "${case%%:*}" "$(mode_of "$case")" "$engine" "$round")
  if [[ $rc -ne 0 || -z $line ]]; then
    say "  round $round  $case  $engine: FAILED, status $rc: $(tail -3 "$tmp/logs/$out.err")"
    printf '{%s,"error":"status %d, see stderr"}\n' "$head" "$rc" >>"$runs"
    return 0
  fi
  if [[ $round == 1 || $verify_all == yes ]]; then verified=$(verify "$case" "$out"); fi
  say "  round $round  $case  $engine: $line ${verified:+verified: $verified}"
  printf '{%s,"verified":"%s","load":%s,"figures":%s}\n' "$head" "$verified" "$load" "$line" >>"$runs"
}

cases=()
for w in "${workloads[@]}"; do
  case $w in
    W2) cases+=(W2:update W2:commit) ;;
    W3) cases+=(W3:update) ;;
    *) cases+=("$w") ;;
  esac
done
for ((round = 1; round <= rounds; round++)); do
  for c in "${cases[@]}"; do
    # Each round starts with another engine, so that none always runs on the warmest or the tiredest machine.
    for ((i = 0; i < ${#engines[@]}; i++)); do one "${engines[(i + round - 1) % ${#engines[@]}]}" "$c" "$round"; done
  done
done

# ---------------------------------------------------------------- the report
expect=millstream
[[ $guarantee == exactly-once ]] && has by-hand && expect+=,by-hand
version_of() { sed -n "s|^[[:space:]]*$2 \\(v[^ ]*\\).*|\\1|p" "$1" | head -1; }
"$bin/report" -runs "$runs" -json "$here/results.json" -md "$here/results.md" -expect "$expect" \
  -version "millstream=$(git -C "$root" describe --always --dirty 2>/dev/null || echo unknown)" \
  -version "go=$(cd "$root" && go env GOVERSION)" -version "kafka=${KAFKA_VERSION:-4.3.1}" \
  -version "franz-go=$(version_of "$root/go.mod" github.com/twmb/franz-go)" \
  -version "pebble=$(version_of "$root/go.mod" github.com/cockroachdb/pebble/v2)" \
  -version "java=$(java -version 2>&1 | sed -n 's/.*version "\(.*\)".*/\1/p' | head -1)"
