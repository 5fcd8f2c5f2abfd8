# size.sh - part of run.sh: does a crash cost more with ten times the state? Sourced by run.sh.
#
# Two applications with a table of rows of 1 KiB that cannot be compressed, in one of them ten times as many. Both are killed and started
# again in turn, while 200 records per second come; the time is from the start of the process to its first new record. 10 GB of state
# need some 40 GB of disk (input, changelog, and the state with what its compaction needs), and most of the mode's time goes into making them.

size_mode='killed, ten times the state'
size_engine() { if [[ $1 == large ]]; then echo millstream; else echo millstream-tenth; fi; } # the one beside which the other is put
size_rows() { if [[ $1 == large ]]; then echo $((10 * size_small)); else echo "$size_small"; fi; }

size_start() { # name: makes the state, and kills
  local name=$1 n log=$tmp/logs/size-$1 i pid
  n=$(size_rows "$name")
  say "run.sh: size: $n rows of 1 KiB"
  "$bin/load" -topic "size-$name" -n "$n" -keys "$n" -prefix key- -width 9 -serial -seed 5 -step 10 -late 0 -pad 900 -base "$base" >"$log.load" 2>&1 || return 1
  mkdir -p "$tmp/state-$name"
  "$millstream" -workload KV -brokers "$brokers" -in "size-$name" -out "size-$name-out" -app "size-$name" -state "$tmp/state-$name" -instance i1 -n "$n" -follow >"$log" 2>&1 </dev/null &
  pid=$! children+=($!)
  for ((i = 0; i < 4 * run_timeout; i++)); do
    ! grep -q '^PROCESSED' "$log" || break
    kill -0 "$pid" 2>/dev/null || break
    sleep 1
  done
  grep -q '^PROCESSED' "$log" || { tail -3 "$log" >&2; return 1; }
  "$bin/load" -topic "size-$name" -keep -rate 200 -n 2000000 -keys "$n" -prefix key- -width 9 -seed 6 -late 0 -pad 900 >/dev/null 2>&1 &
  children+=($!)
  sleep 3 # so that a transaction is open
  { kill -KILL "$pid"; wait "$pid" || true; } 2>/dev/null
}

# Starts an application of which a process was killed, until its first new record; a second one runs for some seconds and is killed.
size_round() { # name round
  local name=$1 round=$2 log=$tmp/logs/size-$1-$2 rc=0 line pid verified=yes gb
  local cmd=("$millstream" -workload KV -brokers "$brokers" -in "size-$name" -out "size-$name-out" -app "size-$name" -state "$tmp/state-$name" -instance i1)
  timeout "$run_timeout" "${cmd[@]}" -n 1 >"$log" 2>"$log.err" </dev/null || rc=$?
  line=$(figures_in "$log")
  gb=$(du -sm --apparent-size "$tmp/state-$name" | cut -f1)
  if [[ $rc -ne 0 || -z $line ]]; then record_failure recovery "$size_mode" "$(size_engine "$name")" "$round" "$rc" "$log.err"; return 0; fi
  [[ $line == *'"inserts":0,'* ]] || verified=no
  record recovery "$size_mode" "$(size_engine "$name")" "$round" "$verified" "$(sed "s/}\$/,\"state_mib\":$gb}/" <<<"$line")"
  "${cmd[@]}" -n 400 -follow >"$log.again" 2>&1 </dev/null &
  pid=$! children+=($!) # ended with the script, too
  for _ in $(seq 300); do ! grep -q '^PROCESSED' "$log.again" || break; sleep 0.1; done
  { kill -KILL "$pid"; wait "$pid" || true; } 2>/dev/null
}

size() { # rounds
  local round name
  size_small=$((records / 2))
  for name in small large; do
    size_start "$name" || { record_failure recovery "$size_mode" "$(size_engine "$name")" 1 1 "$tmp/logs/size-$name"; return 0; }
  done
  for ((round = 1; round <= $1; round++)); do
    for name in small large; do size_round "$name" "$round"; done
  done
  end_children
  rm -rf "$tmp/state-small" "$tmp/state-large"
}
