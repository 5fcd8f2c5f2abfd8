# catchup.sh - part of run.sh: full topics, read from their start to their end.

mode_of() { case $1 in W2:* | W3:*) echo "${1#*:}, $guarantee" ;; *) echo "$guarantee" ;; esac; } # W2:update -> "update, exactly-once"
input_of() { if [[ $1 == W4 ]]; then echo jleft,jright; elif [[ $1 == W5 ]]; then echo events,users; else echo events; fi; }

# Millstream's memory budget in MiB, where less than the default of the program, 256, takes hardly more CPU.
budget_of() { case $1 in W1) echo 288 ;; W2:update | W5) echo 176 ;; W3:update | W4) echo 144 ;; esac; }

# How much garbage it may have, in percent of what is alive, where less than Go's default spares more memory than it costs CPU.
garbage_of() { case $1 in W4) echo 75 ;; *) echo 100 ;; esac; }

# The command of an engine for a case; it prints one JSON line as the last of its stdout.
command_of() { # engine case out -> the array cmd, or status 1 if it has no such case
  local engine=$1 w=${2%%:*} emit=update out=$3 n=$records
  [[ $2 != *:* ]] || emit=${2#*:}
  [[ $w != W4 ]] || n=$((2 * nj))
  case $engine in
    millstream)
      cmd=(env "GOGC=$(garbage_of "$2")" "$millstream" -workload "$w" -emit "$emit" -guarantee "$guarantee" -brokers "$brokers" -in "$(input_of "$w")" -out "$out")
      local mib=; mib=$(budget_of "$2")
      [[ -z $mib ]] || cmd+=(-memory $((mib << 20)))
      [[ -z $workers ]] || cmd+=(-workers "$workers") ;;
    by-hand)
      local m; m=$(lower "$w")-txn
      if [[ $guarantee == at-least-once ]]; then [[ $w == W1 ]] || return 1; m=w1-plain; fi
      cmd=("$bin/limit" -mode "$m" -n "$n" -out "$out" -dir "$tmp/state" -json)
      [[ $emit != update ]] || cmd+=(-all) ;;
    kafka-streams)
      local g=exactly_once_v2 c=off
      [[ $guarantee == exactly-once ]] || g=at_least_once
      [[ $emit == update ]] || c=on
      cmd=("$here/peers/kafka-streams/run.sh" "w=$(lower "$w")" "n=$n" "bootstrap=$brokers" "out=$out" "guarantee=$g" "cache=$c" "state=$tmp/state" json=yes)
      # One partition may run far ahead of the others in the repartition topic, whose stream time is then ahead of most
      # records: with the workload's grace it drops them as late.
      [[ $w != W3 ]] || cmd+=(grace=3600) ;;
    flink)
      [[ $w == W1 || $2 == W2:update ]] || return 1
      cmd=("$here/peers/flink/events.sh" "w=$(lower "$w")" "n=$n" "bootstrap=$brokers" "out=$out" "guarantee=$guarantee" "checkpoints=$tmp/state") ;;
  esac
}

verify() { # case out -> yes or no
  local w=${1%%:*} args=(-n "$records" -nj "$nj" -base "$base" -topic "$2")
  [[ $1 != *:update || $guarantee != exactly-once ]] || args+=(-every-update)
  [[ $guarantee == exactly-once || $w == W2 || $w == W3 ]] || args+=(-at-least-once)
  if "$bin/verify" -w "$(lower "$w")" "${args[@]}" >"$tmp/logs/$2.verify" 2>&1; then echo yes; else say "$(tail -1 "$tmp/logs/$2.verify")"; echo no; fi
}

one() { # engine case round
  local engine=$1 case=$2 round=$3 cmd=() line rc=0 verified=''
  local out=out-$engine-${case/:/-}-$round
  command_of "$engine" "$case" "$out" || return 0
  make_topic "$out"
  mkdir -p "$tmp/state" "$tmp/tmp"
  TMPDIR=$tmp/tmp timeout "$run_timeout" "${cmd[@]}" >"$tmp/logs/$out" 2>"$tmp/logs/$out.err" </dev/null || rc=$?
  rm -rf "$tmp/state" "$tmp/tmp"
  line=$(figures_in "$tmp/logs/$out")
  if [[ $rc -ne 0 || -z $line ]]; then record_failure "${case%%:*}" "$(mode_of "$case")" "$engine" "$round" "$rc" "$tmp/logs/$out.err"; return 0; fi
  if [[ $round == 1 || $verify_all == yes ]]; then verified=$(verify "$case" "$out"); fi
  record "${case%%:*}" "$(mode_of "$case")" "$engine" "$round" "$verified" "$line"
}

catchup() { # rounds workload...
  local n=$1 cases=() w c i round
  shift
  for w in "$@"; do
    case $w in
      W2) cases+=(W2:update W2:commit) ;;
      W3) cases+=(W3:update) ;;
      *) cases+=("$w") ;;
    esac
  done
  for ((round = 1; round <= n; round++)); do
    for c in "${cases[@]}"; do
      # Each round starts with another engine, so that none always runs on the warmest or the tiredest machine.
      for ((i = 0; i < ${#engines[@]}; i++)); do one "${engines[(i + round - 1) % ${#engines[@]}]}" "$c" "$round"; done
    done
  done
}
