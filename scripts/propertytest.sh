#!/usr/bin/env bash
# propertytest.sh - operators against naive models of them, on random input: disorder, commits, restarts, kills, wiped
# state, crashes at each step of a commit, with and without a cache.
#
#   propertytest.sh [--seeds 2000]          as many seeds, spread over all kinds of operators, at least 100 for each
#   propertytest.sh --plant NAME|all        a build with a known mistake in it; the models must find it
#
# Plants: window (a record at a window's start falls into the one before), session (a distance of just the gap does not
#         merge), join (the upper bound is excluded), table (deletions are ignored), ttl (what has expired is still
#         known), timer (one at the watermark fires), pattern (a record at the end of a pattern's time is in it),
#         handle (what has expired is still returned),
#         suppress (each change starts the time anew), foreign (rows are not told that the one they name was deleted),
#         async (the watermark overtakes records under way), ledger (a record is dropped, and nobody counts it), branch (a
#         record does not come to the second of two branches); these two change no count that the model looks at, and are
#         for the ledger to find
#
# The last line is JSON: seeds, kinds {test: seeds}, failed; with --plant plant, caught; with all also plants. Exit status:
# 0 correct, or every plant caught; 1 a model found something, or a plant was not caught; 2 the run itself failed. rapid
# keeps the input of a failure below testdata/rapid, and tries it first from then on: commit it.
set -euo pipefail
export GOTOOLCHAIN=auto
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
say() { printf '%s\n' "$*" >&2; }
die() { say "propertytest.sh: $*"; exit 2; }
usage() { sed -n '2,/^set -euo/p' "$0" | sed '$d; s/^# \{0,1\}//'; }

declare -A test_of=([window]=TestWindowKindsEqualTheirModels/tumbling [session]=TestWindowKindsEqualTheirModels/session [join]=TestJoinAgainstModel
  [table]=TestTablesAgainstModel [ttl]=TestDeduplicateAgainstModel [timer]=TestTimersModel [pattern]=TestDetectAgainstModel [handle]=TestHandlesAgainstModel
  [suppress]=TestSuppressModel [foreign]=TestJoinForeignModel [async]=TestAsyncAgainstModel [ledger]=TestLedgerModel [branch]=TestLedgerModel)
order='window session join table ttl timer pattern handle suppress foreign async ledger branch'
models='Model' # every test of random input against a model has this in its name

seeds=2000 plant=''
while [[ $# -gt 0 ]]; do
  case $1 in
    --seeds) [[ $# -gt 1 && $2 =~ ^[0-9]+$ ]] || die "--seeds wants a number"; seeds=$2; shift 2 ;;
    --plant) [[ $# -gt 1 ]] || die "--plant wants a name"; plant=$2; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; die "what is '$1'?" ;;
  esac
done
[[ -z $plant || $plant == all || -n ${test_of[$plant]:-} ]] || die "there is no plant '$plant': use all, or one of: $order"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM HUP
cd "$root/stream"

if [[ -z $plant ]]; then
  go test -c -o "$tmp/stream.test" . || die "the build failed"
  kinds=$("$tmp/stream.test" -test.v -test.run "$models" -rapid.checks=1 -rapid.nofailfile 2>/dev/null | grep -c '\[rapid\] OK') || die "no models found"
  each=$(((seeds + kinds - 1) / kinds))
  [[ $each -ge 100 ]] || each=100
  rc=0
  "$tmp/stream.test" -test.v -test.run "$models" "-rapid.checks=$each" >"$tmp/out" 2>&1 || rc=$?
  [[ $rc -eq 0 ]] || { grep -vE '^ *(=== |--- PASS|.*\[rapid\] OK)' "$tmp/out" | head -150; }
  # The line of rapid comes before that of its test.
  awk -v rc="$rc" '/\[rapid\] OK, passed/ { match($0, /passed [0-9]+/); n[++m] = substr($0, RSTART + 7, RLENGTH - 7) }
    /^=== RUN/ { name = $3 } /\[rapid\] OK, passed/ { k[m] = name }
    /--- FAIL: / { failed++ }
    END { printf "{\"seeds\":"; for (i = 1; i <= m; i++) sum += n[i]; printf "%d,\"kinds\":{", sum
      for (i = 1; i <= m; i++) printf "%s\"%s\":%d", (i > 1 ? "," : ""), k[i], n[i]
      printf "},\"failed\":%d}\n", failed + 0 }' "$tmp/out"
  [[ $rc -eq 0 ]] || exit 1
  exit 0
fi

go test -c -tags plant_semantics -o "$tmp/stream.test" . || die "the build failed"
[[ $plant == all ]] && list=$order || list=$plant
[[ -z $(MILLSTREAM_PLANT='' "$tmp/stream.test" -test.run "$models" -rapid.checks=20 -rapid.nofailfile 2>&1 | grep -m1 -- '--- FAIL') ]] || die "the build fails without a plant"
all=true results=''
for p in $list; do
  caught=false
  MILLSTREAM_PLANT=$p "$tmp/stream.test" -test.run "^${test_of[$p]/\//\$/^}\$" -rapid.checks=2000 -rapid.nofailfile -rapid.shrinktime=1s >"$tmp/$p" 2>&1 || caught=true
  grep -q 'no tests to run' "$tmp/$p" && die "there is no test ${test_of[$p]}"
  if $caught && ! grep -q '\[rapid\]' "$tmp/$p"; then cat "$tmp/$p"; die "plant $p: the test failed for another reason"; fi
  say "$p: $caught ($(grep -m1 -oE '\[rapid\].*' "$tmp/$p" | head -c 100))"
  $caught || all=false
  results+="${results:+,}\"$p\":$caught"
done
printf '{"plant":"%s","caught":%s,"plants":{%s}}\n' "$plant" "$all" "$results"
$all
