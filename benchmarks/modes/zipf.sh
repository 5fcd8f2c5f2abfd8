# zipf.sh - part of run.sh: W3 with amounts that follow Zipf's law, eight tasks before the repartition and eight behind it. The
# most frequent amount has 38 % of the records. Millstream adds records up before they are sent (FoldMerge); "unsplit" is the
# same program with an aggregate that cannot be merged (Fold), so that each record goes to the task of its key.

zipf_skew=1.5

zipf_load() { "$bin/load" -topic skewed -partitions 8 -n "$records" -seed 1 -step 50 -late 0.05 -late-ms 3000 -skew-amounts "$zipf_skew" -base "$base"; }

zipf() { # rounds
  local round i engine out rc line verified order=(millstream unsplit) cmd
  for ((round = 1; round <= $1; round++)); do
    for ((i = 0; i < 2; i++)); do
      engine=${order[(i + round - 1) % 2]}; out=out-zipf-$engine-$round rc=0 verified=''
      make_topic "$out"
      mkdir -p "$tmp/state"
      cmd=("$millstream" -workload W3-zipf -emit commit -guarantee "$guarantee" -brokers "$brokers" -in skewed -out "$out" -state "$tmp/state")
      [[ $engine == millstream ]] || cmd+=(-merge=false)
      [[ -z $workers ]] || cmd+=(-workers "$workers")
      timeout "$run_timeout" "${cmd[@]}" >"$tmp/logs/$out" 2>"$tmp/logs/$out.err" </dev/null || rc=$?
      rm -rf "$tmp/state"
      line=$(figures_in "$tmp/logs/$out")
      if [[ $rc -ne 0 || -z $line ]]; then record_failure W3-zipf "commit, $guarantee" "$engine" "$round" "$rc" "$tmp/logs/$out.err"; continue; fi
      if [[ $round == 1 || $verify_all == yes ]]; then
        verified=yes
        "$bin/verify" -w w3 -n "$records" -base "$base" -skew-amounts "$zipf_skew" -topic "$out" >"$tmp/logs/$out.verify" 2>&1 || { verified=no; say "$(tail -1 "$tmp/logs/$out.verify")"; }
      fi
      record W3-zipf "commit, $guarantee" "$engine" "$round" "$verified" "$line"
    done
  done
}
