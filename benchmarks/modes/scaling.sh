# scaling.sh - part of run.sh: how throughput grows with workers, and the cost of a record with keys, partitions and operators.
# In one process, without a broker (benchmarks/nexmark, benchmarks/scaling).
#
# The queries of Nexmark run on 5,000,000 events with one worker and with two, which must give the same rows. The others know
# what must come out. --records below 2,000,000 makes all of it smaller, and leaves out the largest number of keys.

scaling_workers() { # query round
  local q=$1 round=$2 n log lines=() events=$((5 * records / 2)) mode='1 worker' verified=yes rows=()
  [[ $events -le 5000000 ]] || events=5000000
  for n in 1 2; do
    log=$tmp/logs/scaling-$q-$n-$round
    [[ $n == 1 ]] || mode='2 workers'
    mkdir -p "$tmp/tmp"
    if ! TMPDIR=$tmp/tmp timeout "$run_timeout" "$bin/nexmark" -query "$q" -events "$events" -jitter "$nexmark_jitter" -workers "$n" >"$log" 2>"$log.err"; then
      record_failure "scaling nexmark-$q" "$mode" millstream "$round" 1 "$log.err"; rm -rf "$tmp/tmp"; return 0
    fi
    rm -rf "$tmp/tmp"
    lines+=("$(figures_in "$log" | nexmark_figures | sed "s/}\$/,\"size\":$n}/")")
    rows+=("$(sed -n 's/.*"outputs":\([0-9]*\),"hash":"\([0-9a-f]*\)".*/\1 \2/p' <<<"${lines[-1]}")")
  done
  [[ -n ${rows[0]} && ${rows[0]} == "${rows[1]}" ]] || verified=no
  record "scaling nexmark-$q" '1 worker' millstream "$round" "$verified" "${lines[0]}"
  record "scaling nexmark-$q" '2 workers' millstream "$round" "$verified" "${lines[1]}"
}

scaling_curve() { # curve round
  local log=$tmp/logs/scaling-$1-$2 line mode verified scale=1
  [[ $records -ge 2000000 ]] || scale=$((2000000 / records))
  mkdir -p "$tmp/tmp"
  if ! TMPDIR=$tmp/tmp timeout "$run_timeout" "$bin/scaling" -curve "$1" -scale "$scale" >"$log" 2>"$log.err"; then
    record_failure "scaling $1" "$(figures_in "$log" | sed -n 's/.*"mode":"\([^"]*\)".*/after \1/p')" millstream "$2" 1 "$log.err"
  fi
  rm -rf "$tmp/tmp"
  while IFS= read -r line; do
    mode=$(sed 's/.*"mode":"\([^"]*\)".*/\1/' <<<"$line") verified=no
    [[ $line != *'"verified":true'* ]] || verified=yes
    record "scaling $1" "$mode" millstream "$2" "$verified" "$line"
  done <"$log"
}

scaling() { # rounds
  local round q
  for ((round = 1; round <= $1; round++)); do
    for q in q5 q7 q11 q18; do scaling_workers "$q" "$round"; done
    scaling_curve operators "$round"
    scaling_curve partitions "$round"
    [[ $round -gt 1 ]] || scaling_curve keys "$round" # once: its keys have to be counted first
  done
}
