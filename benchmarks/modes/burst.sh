# burst.sh - part of run.sh: few records, many, few. What is behind must be caught up, within the memory budget.

burst() { # rounds
  local round app pid log rc verified memory=$((256 << 20)) phases=10x5,10000x20,10x10 n=$((50 + 200000 + 100))
  if [[ $quick == yes ]]; then phases=10x3,10000x8,10x5 n=$((30 + 80000 + 50)); fi
  for ((round = 1; round <= $1; round++)); do
    app=burst-$round log=$tmp/logs/burst-$round rc=0 verified=no
    make_topic "in-$app"; make_topic "out-$app"
    mkdir -p "$tmp/state"
    "$millstream" -workload W2 -emit update -brokers "$brokers" -in "in-$app" -out "out-$app" -app "$app" -state "$tmp/state" -memory "$memory" -follow >"$log" 2>"$log.err" </dev/null &
    pid=$! children=($!)
    sleep 2
    "$bin/load" -topic "in-$app" -keep -phases "$phases" -seed 1 -late 0.05 -late-ms 3000 >"$log.load" 2>&1 &
    children+=($!)
    "$bin/lag" -topic "in-$app" -group "$app" -total "$n" -high 5000 >"$log.lag" 2>"$log.lag.err" || rc=$?
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" || rc=$?
    if [[ $rc -ne 0 ]]; then
      record_failure burst "10, 10,000, 10 records/s" millstream "$round" "$rc" "$log.err"
    else
      if "$bin/verify" -w w2 -n "$n" -paced -every-update -topic "out-$app" >"$log.verify" 2>&1; then verified=yes; else say "$(tail -1 "$log.verify")"; fi
      local peak; peak=$(figures_in "$log" | sed 's/.*"peak_rss_mib":\([0-9]*\).*/\1/')
      say "  peak RSS $peak MiB, memory budget $((memory >> 20)) MiB"
      record burst "10, 10,000, 10 records/s" millstream "$round" "$verified" "$(sed "s/}\$/,\"peak_rss_mib\":$peak,\"memory_budget_mib\":$((memory >> 20))}/" "$log.lag")"
    fi
    end_children
    rm -rf "$tmp/state"
  done
}
