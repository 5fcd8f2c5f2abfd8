#!/usr/bin/env bash
# run.sh - Millstream and its peers on the same topics of a real Kafka, in turn, with verified outputs.
#
#   run.sh --prepare              download and build everything, measure nothing
#   run.sh --quick                W1 and W2 on 1,000,000 records against the loops by hand, Nexmark's q5 against Flink; at
#                                 most 8 minutes after --prepare
#   run.sh                        all of it, on 2,000,000 records, against Kafka Streams and Flink too; at most an hour on 2 cores
#
#   --only W1,W2                  of W1 W2 W3 W4 W5 (catch-up), W3-zipf (skewed keys), large (more state than memory), latency
#                                 (paced), recovery, size (recovery with 1 GB and with 10 GB of state, not in the default: 40 GB
#                                 of disk), burst, idle; and, without a broker, nexmark-q0 and so on, or nexmark for all of its
#                                 queries; scaling; kinesis, on the Kinesis for tests
#   --rounds N                    rounds, 3 (1 of latency, burst and idle, unless --rounds is given; large has always 1)
#   --peers by-hand,kafka-streams,flink   engines beside Millstream, each where it has the workload
#   --guarantee exactly-once|at-least-once   of the catch-up workloads
#   --records N                   records of the main topic; half as many keys in recovery, 3.5 times as many records of large
#   --seconds N                   length of a paced run of Millstream, of which the first quarter is not counted; 40, with
#                                 --quick 12; three fifths of it for the others
#   --workers N                   Millstream's workers; default: its own
#   --verify-all                  check outputs in every round, not only in the first
#   --keep DIR                    leave the run's files (logs, runs.jsonl) in DIR
#   --out DIR                     where the results go; default: this folder
#
# Results: results.json, results.md and plots/*.svg in the --out folder, and the table on stdout. Status 1 if an output is
# wrong or unchecked, or an engine failed or is missing.
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

quick=no only='' rounds='' peers='' guarantee=exactly-once records='' seconds='' workers='' verify_all=no keep='' out_dir=$here prepare_only=no
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
    --seconds) seconds=$2; shift 2 ;;
    --workers) workers=$2; shift 2 ;;
    --verify-all) verify_all=yes; shift ;;
    --keep) keep=$2; shift 2 ;;
    --out) out_dir=$2; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; die "what is '$1'?" ;;
  esac
done
[[ $guarantee == exactly-once || $guarantee == at-least-once ]] || die "--guarantee must be exactly-once or at-least-once"
[[ -z $rounds || $rounds =~ ^[1-9][0-9]*$ ]] || die "--rounds must be a number"
with_nexmark_flink=no # whether Flink runs the Nexmark queries
if [[ $quick == yes ]]; then
  [[ -n $only || -n $peers ]] || with_nexmark_flink=yes
  : "${only:=W1,W2,nexmark-q5}" "${records:=1000000}" "${peers:=by-hand}" "${seconds:=12}"
else
  : "${only:=W1,W2,W3,W4,W5,W3-zipf,large,latency,recovery,burst,idle,nexmark,scaling,kinesis}" "${records:=2000000}" "${peers:=by-hand,kafka-streams,flink}" "${seconds:=40}"
fi
nj=$((records / 4)) nkv=$((records / 2)) nlarge=$((records * 7 / 2))
# shellcheck source=modes/nexmark.sh
source "$here/modes/nexmark.sh"
only=$(sed "s/\bnexmark\(,\|\$\)/$nexmark_all\1/" <<<"$only")
IFS=, read -ra parts <<<"$only"
IFS=, read -ra engines <<<"millstream,$peers"
for w in "${parts[@]}"; do [[ $w =~ ^(W[1-5]|W3-zipf|large|latency|recovery|size|burst|idle|scaling|kinesis)$ || ,$nexmark_all, == *,$w,* ]] || die "unknown part '$w'"; done
for e in "${engines[@]}"; do [[ $e =~ ^(millstream|by-hand|kafka-streams|flink)$ ]] || die "unknown engine '$e'"; done
[[ ,$peers, != *,flink,* ]] || with_nexmark_flink=yes
has() { local e; for e in "${engines[@]}"; do [[ $e != "$1" ]] || return 0; done; return 1; }
lower() { tr 'W' 'w' <<<"$1"; }

# ---------------------------------------------------------------- untimed: download and build
java_program() { # FOLDER NEWEST-CLASS: built again if a source is newer
  local dir=$here/peers/$1 class=$here/peers/$1/target/classes/$2.class
  if [[ -e $class && -z $(find "$dir/src" "$dir/pom.xml" -newer "$class" -print -quit) ]]; then return 0; fi
  say "run.sh: $1"
  command -v mvn >/dev/null || die "mvn is needed to build the program of $1 (Debian: apt-get install maven), or leave it out: --peers by-hand"
  # shellcheck disable=SC2086
  mvn -q -B -f "$dir/pom.xml" ${MVN_ARGS:-} package
  touch "$class"
}
prepare() {
  mkdir -p "$bin"
  say "run.sh: broker"; "$kafka" fetch >/dev/null
  say "run.sh: programs"
  (cd "$here/peers/by-hand" && go build -o "$bin/" ./cmd/limit ./cmd/load ./cmd/verify ./cmd/lat ./cmd/lag)
  (cd "$root" && go build -o "$bin/report" ./benchmarks/report && go build -o "$bin/nexmark" ./benchmarks/nexmark && go build -o "$bin/kinesis" ./benchmarks/kinesis && go build -o "$bin/scaling" ./benchmarks/scaling)
  [[ -n ${MILLSTREAM_BIN:-} ]] || (cd "$root" && go build -o "$bin/millstream" ./benchmarks/kafka)
  if has kafka-streams || [[ $prepare_only == yes ]]; then java_program kafka-streams ksbench/Bench; fi
  if has flink || [[ $with_nexmark_flink == yes || $prepare_only == yes ]]; then java_program flink bench/EventsJob; fi
}
prepare
version=$(git -C "$root" describe --always --dirty 2>/dev/null || echo unknown) # of what was built just now
[[ $prepare_only == no ]] || { say "run.sh: prepared"; exit 0; }
millstream=${MILLSTREAM_BIN:-$bin/millstream}
[[ -x $millstream ]] || die "no program $millstream"

# ---------------------------------------------------------------- a broker of its own, and the input
tmp=$(mktemp -d)
children=() # processes in the background
end_children() { local p; for p in ${children[@]+"${children[@]}"}; do kill -KILL "$p" 2>/dev/null || true; wait "$p" 2>/dev/null || true; done; children=(); }
cleanup() {
  end_children
  "$kafka" wipe --dir "$tmp/kafka" >/dev/null 2>&1 || true
  if [[ -n $keep ]]; then mkdir -p "$keep" && cp -r "$tmp"/*.jsonl "$tmp/logs" "$keep/" 2>/dev/null || true; fi
  rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
mkdir -p "$tmp/logs"
queries=() brokered=0 # parts that need a broker
for p in "${parts[@]}"; do
  case $p in nexmark-*) queries+=("$p") ;; kinesis | scaling) ;; *) brokered=$((brokered + 1)) ;; esac
done
if [[ $brokered -gt 0 ]]; then
  brokers=$("$kafka" start --fresh --port free --dir "$tmp/kafka" 2>"$tmp/logs/broker") || { cat "$tmp/logs/broker" >&2; die "the broker does not start"; }
  export KAFKA_BOOTSTRAP=$brokers
  load_kv=0
  [[ ,$only, != *,recovery,* ]] || load_kv=$nkv
  say "run.sh: Kafka on $brokers; loading $records records"
  base=$(LOAD=$bin/load N=$records NJ=$nj NKV=$load_kv "$here/peers/by-hand/load-all.sh" | sed -n 's/^base=//p')
fi
make_topic() { "$bin/load" -n 0 -topic "$1" >/dev/null; } # empty, 4 partitions

# ---------------------------------------------------------------- what a run leaves: one line in runs.jsonl
runs=$tmp/runs.jsonl
: >"$runs"
load_now() { cut -d' ' -f1 /proc/loadavg 2>/dev/null || echo 0; }
# The figures are the last line of JSON on the stdout of a run.
figures_in() { grep '^{.*}$' "$1" | tail -1 || true; }
record() { # workload mode engine round verified figures
  say "  round $4  $1, $2  $3: $6 ${5:+verified: $5}"
  printf '{"workload":"%s","mode":"%s","engine":"%s","round":%d,"verified":"%s","load":%s,"figures":%s}\n' "$1" "$2" "$3" "$4" "$5" "$(load_now)" "$6" >>"$runs"
}
record_failure() { # workload mode engine round status log
  say "  round $4  $1, $2  $3: FAILED, status $5: $(tail -3 "$6" 2>/dev/null)"
  printf '{"workload":"%s","mode":"%s","engine":"%s","round":%d,"error":"status %d, see its log (--keep)"}\n' "$1" "$2" "$3" "$4" "$5" >>"$runs"
}

for mode in catchup zipf large latency recovery size burst idle scaling kinesis; do
  # shellcheck source=/dev/null
  source "$here/modes/$mode.sh"
done

took=() # seconds of each part
timed() { local t=$SECONDS; "$@"; took+=("$1 $((SECONDS - t))"); }

workloads=()
for p in "${parts[@]}"; do [[ $p != W? ]] || workloads+=("$p"); done
[[ ${#workloads[@]} -eq 0 ]] || timed catchup "${rounds:-3}" "${workloads[@]}"
for p in "${parts[@]}"; do
  case $p in
    W3-zipf) zipf_load; timed zipf "${rounds:-3}" ;;
    large) timed large ;;
    latency) timed latency "${rounds:-1}" ;;
    recovery) timed recovery "${rounds:-3}" ;;
    size) timed size "${rounds:-5}" ;;
    burst) timed burst "${rounds:-1}" ;;
    idle) timed idle "${rounds:-1}" ;;
    scaling) timed scaling "${rounds:-3}" ;;
    kinesis) timed kinesis_bench "${rounds:-3}" ;;
  esac
done
[[ ${#queries[@]} -eq 0 ]] || timed nexmark "${rounds:-3}" "${queries[@]}"
say "run.sh: $SECONDS seconds in all; $(printf '%s, ' "${took[@]}" | sed 's/, $//')"

# ---------------------------------------------------------------- the report
expect=millstream # and each engine that has one of the parts
expected() { local e; for e in "$@"; do if has "$e" && [[ ,$expect, != *,$e,* ]]; then expect+=,$e; fi; done; }
for p in "${parts[@]}"; do
  case $p in
    W1 | latency) expected by-hand kafka-streams flink ;;
    W2) expected kafka-streams flink; [[ $guarantee == at-least-once ]] || expected by-hand ;;
    W[345]) expected kafka-streams; [[ $guarantee == at-least-once ]] || expected by-hand ;;
    large | recovery | idle) expected kafka-streams ;;
    kinesis) expect+=,bare-sdk ;;
    nexmark-*) [[ $with_nexmark_flink == no || ,$expect, == *,flink,* ]] || expect+=,flink ;;
  esac
done
version_of() { sed -n "s|^[[:space:]]*$2 \\(v[^ ]*\\).*|\\1|p" "$1" | head -1; }
mkdir -p "$out_dir/plots"
"$bin/report" -runs "$runs" -json "$out_dir/results.json" -md "$out_dir/results.md" -plots "$out_dir/plots" -expect "$expect" \
  -version "millstream=$version" \
  -version "go=$(cd "$root" && go env GOVERSION)" -version "kafka=${KAFKA_VERSION:-4.3.1}" \
  -version "flink=$(sed -n 's|.*<flink.version>\(.*\)</flink.version>.*|\1|p' "$here/peers/flink/pom.xml")" \
  -version "franz-go=$(version_of "$root/go.mod" github.com/twmb/franz-go)" \
  -version "pebble=$(version_of "$root/go.mod" github.com/cockroachdb/pebble/v2)" \
  -version "java=$(java -version 2>&1 | sed -n 's/.*version "\(.*\)".*/\1/p' | head -1)"
