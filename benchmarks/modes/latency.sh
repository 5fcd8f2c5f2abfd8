# latency.sh - part of run.sh: records come at a steady rate, and results are timed.
#
# Loader, engine and reader are processes of their own. A latency is the reader's clock (read_committed) less the send time
# that the record carries. CPU is taken from outside, over the time that is counted, for all engines alike: their start
# and the compiler of a JVM are left out. The others run for three fifths of Millstream's time, which makes their 99th
# percentile smaller if anything.

rate=20000 # records per second

paced_command() { # engine workload profile guarantee in out -> the array cmd, or status 1 if it has no such case
  local engine=$1 w=$2 profile=$3 g=$4 in=$5 out=$6 linger=20
  [[ $profile == throughput ]] || linger=0
  case $engine in
    millstream)
      cmd=("$millstream" -workload "$w" -emit update -guarantee "$g" -profile "$profile" -brokers "$brokers" -in "$in" -out "$out" -memory $((128 << 20)) -follow)
      [[ -z $workers ]] || cmd+=(-workers "$workers") ;;
    by-hand)
      local m; m=$(lower "$w")-txn
      if [[ $g == at-least-once ]]; then [[ $w == W1 ]] || return 1; m=w1-plain; fi
      cmd=("$bin/limit" -mode "$m" -all -in "$in" -out "$out" -dir "$tmp/state" -seconds 1h)
      [[ $profile == throughput ]] || cmd+=(-linger 0s) ;;
    kafka-streams)
      local gs=exactly_once_v2
      [[ $g == exactly-once ]] || gs=at_least_once
      cmd=("$here/peers/kafka-streams/run.sh" "w=$(lower "$w")" seconds=3600 "bootstrap=$brokers" "in=$in" "out=$out" "guarantee=$gs" cache=off "linger=$linger" "state=$tmp/state") ;;
    flink)
      [[ $w == W1 ]] || return 1
      cmd=("$here/peers/flink/events.sh" "w=$(lower "$w")" "bootstrap=$brokers" "in=$in" "out=$out" "guarantee=$g" "linger=$linger" "checkpoints=$tmp/state") ;;
  esac
}

cpu_ticks() { sed 's/.*) //' "/proc/$1/stat" | awk '{print $12 + $13}'; } # hundredths of a second, user and system
peak_mib() { awk '/^VmHWM/ {printf "%d", $2 / 1024}' "/proc/$1/status"; }

paced() { # engine workload profile guarantee round
  local engine=$1 w=$2 profile=$3 g=$4 round=$5 cmd=() mode="paced, $3, $4" seconds=$seconds
  [[ $engine == millstream ]] || seconds=$((seconds * 3 / 5))
  local skip=$((seconds / 4))
  local id=paced-$engine-$w-$profile-$g-$round
  local log=$tmp/logs/$id pid c0 c1 t0 t1 rc=0 verified=no args=(-n $((rate * seconds)) -paced)
  paced_command "$engine" "$w" "$profile" "$g" "in-$id" "out-$id" || return 0
  make_topic "in-$id"; make_topic "out-$id"
  mkdir -p "$tmp/state" "$tmp/tmp"
  TMPDIR=$tmp/tmp "${cmd[@]}" >"$log" 2>"$log.err" </dev/null &
  pid=$! children=($!)
  if [[ $engine == flink || $engine == kafka-streams ]]; then sleep 8; else sleep 2; fi
  local off=16; [[ $w == W1 ]] || off=8
  "$bin/lat" -topic "out-$id" -off "$off" -skip "${skip}s" -for "$((seconds - skip - 2))s" -json >"$log.lat" 2>"$log.lat.err" &
  local lat=$!
  children+=("$lat")
  sleep 1
  "$bin/load" -topic "in-$id" -keep -rate "$rate" -n $((rate * seconds)) -seed 1 -late 0.05 -late-ms 3000 >"$log.load" 2>&1 &
  local load=$!
  children+=("$load")
  sleep "$skip"
  c0=$(cpu_ticks "$pid") t0=$(date +%s%N) || true
  sleep $((seconds - skip - 1))
  c1=$(cpu_ticks "$pid") t1=$(date +%s%N) || true
  wait "$load" || rc=$?
  wait "$lat" || rc=$?
  sleep 2
  if ! kill -0 "$pid" 2>/dev/null || [[ $rc -ne 0 || -z $c1 ]]; then
    record_failure "$w" "$mode" "$engine" "$round" "${rc/#0/1}" "$log.err"
    end_children; rm -rf "$tmp/state" "$tmp/tmp"; return 0
  fi
  local rss; rss=$(peak_mib "$pid")
  [[ $g == exactly-once || $w != W1 ]] || args+=(-at-least-once)
  if "$bin/verify" -w "$(lower "$w")" "${args[@]}" -topic "out-$id" >"$log.verify" 2>&1; then verified=yes; else say "$(tail -1 "$log.verify")"; fi
  end_children
  rm -rf "$tmp/state" "$tmp/tmp"
  local cpu; cpu=$(awk -v c=$((c1 - c0)) -v t=$((t1 - t0)) -v r=$rate 'BEGIN {printf "%.3f", c * 10000 / (t / 1e9 * r)}')
  record "$w" "$mode" "$engine" "$round" "$verified" \
    "$(sed "s/}\$/,\"records\":$((rate * seconds)),\"cpu_us_per_record\":$cpu,\"peak_rss_mib\":$rss}/" "$log.lat")"
}

# The latency of W1 at-least-once is the median of five runs, since a single one may meet whatever the machine does.
latency() { # rounds
  local round c i w profile g
  for ((round = 1; round <= $1; round++)); do
    for c in W1:throughput:exactly-once W2:throughput:exactly-once W1:latency:at-least-once W1:latency:exactly-once; do
      IFS=: read -r w profile g <<<"$c"
      for ((i = 0; i < ${#engines[@]}; i++)); do
        paced "${engines[(i + round - 1) % ${#engines[@]}]}" "$w" "$profile" "$g" "$round"
      done
    done
  done
  for ((round = $1 + 1; round <= 5; round++)); do paced millstream W1 latency at-least-once "$round"; done
}
