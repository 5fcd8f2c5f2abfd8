# large.sh - part of run.sh: counts of so many keys that they do not fit the memory budget.
#
# 7,000,000 records of 10,000,000 keys (3.5 times --records) fall into one window of 10 s, which makes 5,000,000 counts, all of them
# alive to the end. Each count has 16 bytes and a key of 21, and every update is written. Millstream has 256 MiB for
# all; Kafka Streams has its heap, 64 MiB of cache and, beside it, what RocksDB takes. One round: a run takes minutes.
#
# Where a memory cgroup can be made (as root), Millstream runs in one that allows a quarter more than its budget: if it took more,
# the kernel would kill it, and the run would be a failure.
large_memory=$((256 << 20)) large_keys=10000000
large_limit=$((large_memory + large_memory / 4))

# limited BYTES COMMAND...: runs the command in a memory cgroup, or without one if that cannot be made.
limited() {
  local bytes=$1 group; shift
  for group in /sys/fs/cgroup/memory/millstream-$$ /sys/fs/cgroup/millstream-$$; do
    mkdir "$group" 2>/dev/null || continue
    if [[ -e $group/cgroup.procs ]] && { echo "$bytes" >"$group/memory.limit_in_bytes" || echo "$bytes" >"$group/memory.max"; } 2>/dev/null; then
      say "  in a memory cgroup of $((bytes >> 20)) MiB"
      local rc=0
      (echo "$BASHPID" >"$group/cgroup.procs" && exec "$@") || rc=$?
      rmdir "$group" 2>/dev/null || true
      return "$rc"
    fi
    rmdir "$group" 2>/dev/null || true
  done
  say "  without a limit of memory: no cgroup can be made here"
  "$@"
}

large_command() { # engine out -> the array cmd, or status 1
  case $1 in
    millstream)
      cmd=("$millstream" -workload W2 -emit update -brokers "$brokers" -in large -out "$2" -memory "$large_memory" -state "$tmp/state")
      [[ -z $workers ]] || cmd+=(-workers "$workers") ;;
    kafka-streams)
      cmd=("$here/peers/kafka-streams/run.sh" w=w2 "n=$nlarge" "bootstrap=$brokers" in=large "out=$2" cache=off "state=$tmp/state" json=yes) ;;
    *) return 1 ;;
  esac
}

large() {
  local engine cmd=() out rc line verified mode='update, exactly-once'
  local shape=(-keys "$large_keys" -width 8 -step 1 -late 0)
  "$bin/load" -topic large -n "$nlarge" -seed 1 "${shape[@]}" -base "$base" >/dev/null
  for engine in "${engines[@]}"; do
    out=out-large-$engine rc=0 verified=no
    large_command "$engine" "$out" || continue
    make_topic "$out"
    mkdir -p "$tmp/state" "$tmp/tmp"
    cmd=(timeout $((2 * run_timeout)) "${cmd[@]}")
    [[ $engine != millstream ]] || cmd=(limited "$large_limit" "${cmd[@]}")
    TMPDIR=$tmp/tmp "${cmd[@]}" >"$tmp/logs/$out" 2>"$tmp/logs/$out.err" </dev/null || rc=$?
    rm -rf "$tmp/state" "$tmp/tmp"
    line=$(figures_in "$tmp/logs/$out")
    if [[ $rc -ne 0 || -z $line ]]; then record_failure 'W2 large' "$mode" "$engine" 1 "$rc" "$tmp/logs/$out.err"; continue; fi
    if "$bin/verify" -w w2 -every-update -n "$nlarge" -base "$base" "${shape[@]}" -topic "$out" >"$tmp/logs/$out.verify" 2>&1; then verified=yes; else say "$(tail -1 "$tmp/logs/$out.verify")"; fi
    record 'W2 large' "$mode" "$engine" 1 "$verified" "$line"
  done
}
