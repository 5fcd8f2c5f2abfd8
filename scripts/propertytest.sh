#!/usr/bin/env bash
# propertytest.sh - operators against naive models of them, on random input: disorder, commits, restarts, kills, wiped
# state, crashes at each step of a commit, with and without a cache.
#
#   propertytest.sh [--seeds 2000]          as many seeds, spread over all kinds of operators, at least 100 for each
#   propertytest.sh --plant NAME|all        a build with a known mistake in it; the models must find it
#
# Plants, at least one for each kind of operator:
#   window    a record at a window's start falls into the one before
#   session   a distance of just the gap does not merge
#   sliding   no window begins where a record has dropped out
#   trailing  a record that comes out of order does not change the windows behind it
#   count     a window of more than two records takes one too many
#   trigger   a window that is over is not fired again for a record that it takes
#   early     what waits for its pace is not emitted before the final result
#   gather    what is sent later replaces what was sent before
#   join      the upper bound is excluded
#   asof      a record that has waited is joined with the row as it is by now
#   global    deletions are ignored
#   table     deletions are ignored
#   foreign   rows are not told that the one they name was deleted
#   suppress  each change starts the time anew
#   cogroup   a record of another stream adds what the one before it has
#   ttl       Deduplicate still knows what has expired
#   timer     one at the watermark fires
#   every     of several times that have passed none makes a call
#   handle    what has expired is still returned
#   async     the watermark overtakes records under way
#   lookup    an answer is good for ever
#   pattern   a record at the end of a pattern's time is in it
#   ledger    a record is dropped, and nobody counts it
#   branch    a record does not come to the second of two branches
# The last two change no count that the model looks at, and are for the ledger to find.
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

of=TestWindowKindsEqualTheirModels
declare -A tests_of=([window]="$of/tumbling $of/hopping $of/cumulate TestPanesEqualTheModel" [session]=$of/session [sliding]=$of/sliding [trailing]=$of/trailing [count]=$of/count
  [trigger]="TestTriggersEqualTheirModel TestEmissionModel $of/session" [early]=TestEmissionModel [gather]=TestGatheringModel [join]=TestJoinAgainstModel
  [asof]=TestJoinAsOfAgainstModel [global]=TestGlobalTableModel [table]=TestTablesAgainstModel [foreign]=TestJoinForeignModel [suppress]=TestSuppressModel
  [cogroup]=TestCogroupModel [ttl]=TestDeduplicateAgainstModel [timer]=TestTimersModel [every]=TestProcessEveryModel [handle]=TestHandlesAgainstModel
  [async]=TestAsyncAgainstModel [lookup]=TestLookupModel [pattern]=TestDetectAgainstModel [ledger]=TestLedgerModel [branch]=TestLedgerModel)
order='window session sliding trailing count trigger early gather join asof global table foreign suppress cogroup ttl timer every handle async lookup pattern ledger branch'
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
[[ -z $plant || $plant == all || -n ${tests_of[$plant]:-} ]] || die "there is no plant '$plant': use all, or one of: $order"

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
  caught=true
  for name in ${tests_of[$p]}; do
    found=false
    MILLSTREAM_PLANT=$p "$tmp/stream.test" -test.run "^${name/\//\$/^}\$" -rapid.checks=2000 -rapid.nofailfile -rapid.shrinktime=1s >"$tmp/$p" 2>&1 || found=true
    grep -q 'no tests to run' "$tmp/$p" && die "there is no test $name"
    if $found && ! grep -q '\[rapid\]' "$tmp/$p"; then cat "$tmp/$p"; die "plant $p: $name failed for another reason"; fi
    say "$p: $found by $name ($(grep -m1 -oE '\[rapid\].*' "$tmp/$p" | head -c 100))"
    $found || caught=false
  done
  $caught || all=false
  results+="${results:+,}\"$p\":$caught"
done
printf '{"plant":"%s","caught":%s,"plants":{%s}}\n' "$plant" "$all" "$results"
$all
