# recovery.sh - part of run.sh: how long it takes from the start of a process to its first new record, with a table of many
# rows as its state. Records come in all the time, 200 per second.
#
#   killed    SIGKILL, the state kept
#   clean     a clean stop, the state kept
#   wiped     a clean stop, the state deleted: all of it comes from the changelog
#   snapshot  the same, with a snapshot of the state in a folder (Millstream only)
#   dynamic   as clean, without static membership (Millstream only: others wait for the session timeout)
#
# A run is right if its first records find their rows in the table; Kafka Streams' program does not look.

recovery_command() { # engine app in n follow|stop -> the array cmd, or status 1
  local engine=$1 app=$2 in=$3 n=$4 how=$5
  case $engine in
    millstream)
      cmd=("$millstream" -workload KV -brokers "$brokers" -in "$in" -out "$app-out" -app "$app" -state "$tmp/state" -instance i1 -n "$n")
      [[ $how != follow ]] || cmd+=(-follow) ;;
    kafka-streams)
      cmd=("$here/peers/kafka-streams/run.sh" w=kv "n=$n" "bootstrap=$brokers" "in=$in" "app=$app" "state=$tmp/state" keep=yes json=yes "set.group.instance.id=i1")
      [[ $how != follow ]] || cmd+=(hang=yes) ;;
    *) return 1 ;;
  esac
}

restart() { # engine app round case [flag...]: starts, ends after the first record, and records the figures
  local engine=$1 app=$2 round=$3 case=$4 cmd=() rc=0 line verified=yes
  shift 4
  local log=$tmp/logs/$app-$case
  recovery_command "$engine" "$app" "kv-$app" 1 stop
  TMPDIR=$tmp/tmp timeout "$run_timeout" "${cmd[@]}" "$@" >"$log" 2>"$log.err" </dev/null || rc=$?
  line=$(figures_in "$log")
  if [[ $rc -ne 0 || -z $line ]]; then record_failure recovery "$case" "$engine" "$round" "$rc" "$log.err"; return 0; fi
  [[ $engine != millstream || $line == *'"inserts":0,'* ]] || verified=no
  record recovery "$case" "$engine" "$round" "$verified" "$line"
}

take_snapshot() { # app: runs Millstream until there is one, and stops it
  local app=$1 cmd=() pid i
  recovery_command millstream "$app" "kv-$app" 1 follow
  mkdir -p "$tmp/snapshots"
  TMPDIR=$tmp/tmp "${cmd[@]}" -snapshots "$tmp/snapshots" >/dev/null 2>"$tmp/logs/$app-taking" </dev/null &
  pid=$! children+=($!)
  for ((i = 0; i < run_timeout; i++)); do
    [[ -z $(find "$tmp/snapshots" -name 'manifest-*' -print -quit) ]] || break
    kill -0 "$pid" 2>/dev/null || break
    sleep 1
  done
  kill -TERM "$pid" 2>/dev/null
  wait "$pid" 2>/dev/null || true
  [[ -n $(find "$tmp/snapshots" -name 'manifest-*' -print -quit) ]]
}

recover() { # engine round
  local engine=$1 round=$2 cmd=() pid i
  local app=recovery-$engine-$round
  recovery_command "$engine" "$app" "kv-$app" "$nkv" follow || return 0
  "$bin/load" -topic "kv-$app" -n "$nkv" -keys "$nkv" -prefix key- -width 8 -serial -seed 5 -step 10 -late 0 -base "$base" >/dev/null
  mkdir -p "$tmp/state" "$tmp/tmp"
  TMPDIR=$tmp/tmp "${cmd[@]}" >"$tmp/logs/$app" 2>&1 </dev/null &
  pid=$! children=($!)
  for ((i = 0; i < run_timeout; i++)); do
    ! grep -q '^PROCESSED' "$tmp/logs/$app" 2>/dev/null || break
    kill -0 "$pid" 2>/dev/null || break
    sleep 1
  done
  if ! grep -q '^PROCESSED' "$tmp/logs/$app"; then
    record_failure recovery killed "$engine" "$round" 1 "$tmp/logs/$app"
    end_children; rm -rf "$tmp/state" "$tmp/tmp"; return 0
  fi
  "$bin/load" -topic "kv-$app" -keep -rate 200 -n 200000 -keys "$nkv" -prefix key- -width 8 -seed 6 -late 0 >/dev/null 2>&1 &
  children+=($!)
  sleep 3 # so that a transaction is open
  { kill -KILL "$pid"; wait "$pid" || true; } 2>/dev/null
  restart "$engine" "$app" "$round" killed
  restart "$engine" "$app" "$round" clean
  rm -rf "$tmp/state"; mkdir -p "$tmp/state"
  restart "$engine" "$app" "$round" wiped
  if [[ $engine == millstream ]]; then
    if take_snapshot "$app"; then
      rm -rf "$tmp/state"; mkdir -p "$tmp/state"
      restart "$engine" "$app" "$round" snapshot -snapshots "$tmp/snapshots"
    else
      record_failure recovery snapshot "$engine" "$round" 1 "$tmp/logs/$app-taking"
    fi
    rm -rf "$tmp/snapshots"
    recovery_command "$engine" "$app" "kv-$app" 1 stop # once, so that the static member is gone
    TMPDIR=$tmp/tmp timeout "$run_timeout" "${cmd[@]}" -dynamic >/dev/null 2>"$tmp/logs/$app-leave" </dev/null || true
    restart "$engine" "$app" "$round" dynamic -dynamic
  fi
  end_children
  rm -rf "$tmp/state" "$tmp/tmp"
}

recovery() { # rounds
  local round i
  for ((round = 1; round <= $1; round++)); do
    for ((i = 0; i < ${#engines[@]}; i++)); do recover "${engines[(i + round - 1) % ${#engines[@]}]}" "$round"; done
  done
}
