# idle.sh - part of run.sh: what an application takes that has nothing to do. W2 on an empty topic, exactly once; after 10 s
# CPU is counted for 20 s. Then 1,000 records come, whose results show that it was at work.

idle_one() { # engine round
  local engine=$1 round=$2 id=idle-$1-$2 cmd=() pid c0 c1 t0 t1 mode='W2, exactly-once' verified=no
  local log=$tmp/logs/$id
  [[ $engine == millstream || $engine == kafka-streams ]] || return 0
  paced_command "$engine" W2 throughput exactly-once "in-$id" "out-$id"
  make_topic "in-$id"; make_topic "out-$id"
  mkdir -p "$tmp/state" "$tmp/tmp"
  TMPDIR=$tmp/tmp "${cmd[@]}" >"$log" 2>"$log.err" </dev/null &
  pid=$! children=($!)
  sleep 10
  c0=$(cpu_ticks "$pid") t0=$(date +%s%N) || true
  sleep 20
  c1=$(cpu_ticks "$pid") t1=$(date +%s%N) || true
  local rss; rss=$(awk '/^VmRSS/ {printf "%d", $2 / 1024}' "/proc/$pid/status") || true
  local peak; peak=$(peak_mib "$pid") || true
  if [[ -z $c1 || -z $peak ]]; then
    record_failure idle "$mode" "$engine" "$round" 1 "$log.err"
    end_children; rm -rf "$tmp/state" "$tmp/tmp"; return 0
  fi
  "$bin/load" -topic "in-$id" -keep -rate 1000 -n 1000 -seed 1 -late 0.05 -late-ms 3000 >"$log.load" 2>&1
  sleep 3
  if "$bin/verify" -w w2 -n 1000 -paced -topic "out-$id" >"$log.verify" 2>&1; then verified=yes; else say "$(tail -1 "$log.verify")"; fi
  end_children
  rm -rf "$tmp/state" "$tmp/tmp"
  local cpu; cpu=$(awk -v c=$((c1 - c0)) -v t=$((t1 - t0)) 'BEGIN {printf "%.2f", c / (t / 1e9)}') # a tick is a hundredth of a second
  record idle "$mode" "$engine" "$round" "$verified" "{\"records\":1000,\"cpu_percent\":$cpu,\"rss_mib\":$rss,\"peak_rss_mib\":$peak}"
}

idle() { # rounds
  local round e
  for ((round = 1; round <= $1; round++)); do
    for e in "${engines[@]}"; do idle_one "$e" "$round"; done
  done
}
