# nexmark.sh - the Nexmark queries in the process, without a broker; sourced by run.sh.
#
# Always the 2,000,000 events of the oracle (benchmarks/nexmark/testdata), so that every run of every engine is verified.
# Flink runs a query in one process, once to warm up and then once for each round. Millstream starts anew for each, and
# warms up, too. Its garbage may be four times what is alive (GOGC, see docs/performance.md), for which it still takes a part
# of Flink's memory. Flink has one figure, with a checkpoint each second, beside which both of Millstream's are put: an epoch
# each second, and one every 10,000 events.
nexmark_events=2000000
nexmark_all=nexmark-q0,nexmark-q1,nexmark-q2,nexmark-q3,nexmark-q4,nexmark-q5,nexmark-q7,nexmark-q8,nexmark-q9,nexmark-q11,nexmark-q13,nexmark-q18,nexmark-q20
nexmark_jitter=1000

# The figures under the names that the report has for those of all workloads.
nexmark_figures() { sed -e 's/"events":/"records":/; s/"n":/"records":/; s/"rows":/"outputs":/; s/"events_per_s":/"records_per_s":/; s/"cpu_us_per_event":/"cpu_us_per_record":/; s/"peak_rss_mb":/"peak_rss_mib":/'; }

nexmark_verified() { # query figures -> yes or no
  local want have
  want=$(tr -d ' \n' <"$here/nexmark/testdata/oracle-2M.json" | sed -n "s/.*\"$1\":{\"j0\":{[^}]*},\"j$nexmark_jitter\":{\"rows\":\([0-9]*\),\"hash\":\"\([0-9a-f]*\)\"}.*/\1 \2/p")
  have=$(sed -n 's/.*"outputs":\([0-9]*\),"hash":"\([0-9a-f]*\)".*/\1 \2/p' <<<"$2")
  if [[ -n $want && $want == "$have" ]]; then echo yes; else echo no; fi
}

nexmark_run() { # query mode engine round command... -> the figures in nexmark_line, or status 1
  local log=$tmp/logs/nexmark-$1-$3-$4 rc=0
  mkdir -p "$tmp/tmp"
  TMPDIR=$tmp/tmp timeout "$run_timeout" "${@:5}" >"$log" 2>"$log.err" </dev/null || rc=$?
  rm -rf "$tmp/tmp"
  nexmark_line=$(figures_in "$log" | nexmark_figures)
  [[ $rc -ne 0 || -z $nexmark_line ]] || return 0
  record_failure "nexmark-$1" "$2" "$3" "$4" "$rc" "$log.err"
  return 1
}

nexmark_second='epochs of 1 s, exactly-once' nexmark_often='epochs of 10,000 events, exactly-once'

nexmark_flink() { # part rounds
  local q=${1#nexmark-} rounds=$2 round=0 line verified
  nexmark_run "$q" "$nexmark_second" flink 1 "$here/peers/flink/bench.sh" "$q" hashmap "$nexmark_events" "$nexmark_events" "$rounds" "${workers:-$(nproc)}" "$nexmark_jitter" || return 0
  while IFS= read -r line; do
    round=$((round + 1))
    line=$(nexmark_figures <<<"$line")
    verified=$(nexmark_verified "$q" "$line")
    record "$1" "$nexmark_second" flink "$round" "$verified" "$line"
    record "$1" "$nexmark_often" flink "$round" "$verified" "$line"
  done < <(grep '"warmup":false' "$tmp/logs/nexmark-$q-flink-1")
}

nexmark() { # rounds part...
  local rounds=$1 round part q
  shift
  for part in "$@"; do
    q=${part#nexmark-}
    local args=(-warm-up -query "$q" -events "$nexmark_events" -jitter "$nexmark_jitter")
    [[ -z $workers ]] || args+=(-workers "$workers")
    for ((round = 1; round <= rounds; round++)); do
      if nexmark_run "$q" "$nexmark_second" millstream "$round" env GOGC=400 "$bin/nexmark" "${args[@]}"; then
        record "$part" "$nexmark_second" millstream "$round" "$(nexmark_verified "$q" "$nexmark_line")" "$nexmark_line"
      fi
      if nexmark_run "$q" "$nexmark_often" millstream "$round" env GOGC=400 "$bin/nexmark" "${args[@]}" -epoch-events 10000; then
        record "$part" "$nexmark_often" millstream "$round" "$(nexmark_verified "$q" "$nexmark_line")" "$nexmark_line"
      fi
    done
    [[ $with_nexmark_flink == no ]] || nexmark_flink "$part" "$rounds"
  done
}
