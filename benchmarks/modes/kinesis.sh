# kinesis.sh - a full stream of the Kinesis for tests, which is a process of its own; sourced by run.sh.
#
# Beside Millstream a bare loop of AWS's SDK. The library that would be compared, vmware-go-kcl (v2 and v1), is not to be had from the
# Go module proxy any more, and the row says so.
kinesis_bench() { # rounds
  local mode='catch-up, exactly-once' round e line verified log url server
  mkfifo "$tmp/kinesis-in"
  "$bin/kinesis" -serve -records "$records" <"$tmp/kinesis-in" >"$tmp/kinesis-url" 2>"$tmp/logs/kinesis-serve" &
  server=$!
  children+=("$server")
  exec 8>"$tmp/kinesis-in" # it ends with this
  for _ in $(seq 600); do [[ ! -s $tmp/kinesis-url ]] || break; sleep 0.1; done
  url=$(cat "$tmp/kinesis-url")
  [[ -n $url ]] || { cat "$tmp/logs/kinesis-serve" >&2; die "the Kinesis for tests does not start"; }
  for ((round = 1; round <= $1; round++)); do
    local order=(millstream bare-sdk)
    ((round % 2)) || order=(bare-sdk millstream)
    for e in "${order[@]}"; do
      log=$tmp/logs/kinesis-$e-$round
      if timeout "$run_timeout" "$bin/kinesis" -engine "$e" -url "$url" -records "$records" >"$log" 2>"$log.err"; then
        line=$(figures_in "$log")
        if grep -q '"verified":true' <<<"$line"; then verified=yes; else verified=no; fi
        record kinesis "$mode" "$e" "$round" "$verified" "$line"
      else
        record_failure kinesis "$mode" "$e" "$round" "$?" "$log.err"
      fi
    done
  done
  printf '{"workload":"kinesis","mode":"%s","engine":"vmware-go-kcl","missing":"not in the Go module proxy"}\n' "$mode" >>"$runs"
  exec 8>&-
  wait "$server" || true
}
