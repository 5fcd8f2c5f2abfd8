# large.sh - part of run.sh: counts of so many keys that they do not fit the memory budget.
#
# 7,000,000 records of 10,000,000 keys (3.5 times --records) fall into one window of 10 s, which makes 5,000,000 counts, all of them
# alive to the end. Each count has 16 bytes and a key of 21, and every update is written. Millstream has 256 MiB for
# all; Kafka Streams has its heap, 64 MiB of cache and, beside it, what RocksDB takes. One round: a run takes minutes.
#
# What neither has in its memory it reads through the kernel's page cache, of which both have what the machine leaves. Millstream runs
# once more in a memory cgroup that allows a quarter more than its budget, page cache included, where one can be made (as root): if it
# took more, the kernel would kill it, and the run would be a failure.
large_memory=$((256 << 20)) large_keys=10000000
large_limit=$((large_memory + large_memory / 4))

# limiting BYTES: makes a memory cgroup, or status 1 if it cannot; the array limit is what puts a command before it there.
limiting() {
  local group
  for group in /sys/fs/cgroup/memory/millstream-$$ /sys/fs/cgroup/millstream-$$; do
    mkdir "$group" 2>/dev/null || continue
    if [[ -e $group/cgroup.procs ]] && { echo "$1" >"$group/memory.limit_in_bytes" || echo "$1" >"$group/memory.max"; } 2>/dev/null; then
      limit_group=$group limit=(sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group")
      return 0
    fi
    rmdir "$group" 2>/dev/null || true
  done
  return 1
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

large_run() { # engine mode -> one run; the array limit is put before its command
  local engine=$1 mode=$2 out=out-large-$1-${#limit[@]} cmd=() rc=0 line verified=no
  large_command "$engine" "$out" || return 0
  make_topic "$out"
  mkdir -p "$tmp/state" "$tmp/tmp"
  cmd=(timeout $((2 * run_timeout)) ${limit[@]+"${limit[@]}"} "${cmd[@]}")
  TMPDIR=$tmp/tmp "${cmd[@]}" >"$tmp/logs/$out" 2>"$tmp/logs/$out.err" </dev/null || rc=$?
  rm -rf "$tmp/state" "$tmp/tmp"
  line=$(figures_in "$tmp/logs/$out")
  if [[ $rc -ne 0 || -z $line ]]; then record_failure 'W2 large' "$mode" "$engine" 1 "$rc" "$tmp/logs/$out.err"; return 0; fi
  if "$bin/verify" -w w2 -every-update -n "$nlarge" -base "$base" "${large_shape[@]}" -topic "$out" >"$tmp/logs/$out.verify" 2>&1; then verified=yes; else say "$(tail -1 "$tmp/logs/$out.verify")"; fi
  record 'W2 large' "$mode" "$engine" 1 "$verified" "$line"
}

large() {
  local engine limit=() limit_group large_shape=(-keys "$large_keys" -width 8 -step 1 -late 0)
  "$bin/load" -topic large -n "$nlarge" -seed 1 "${large_shape[@]}" -base "$base" >/dev/null
  for engine in "${engines[@]}"; do large_run "$engine" 'update, exactly-once'; done
  if limiting "$large_limit"; then
    large_run millstream "update, exactly-once, in a cgroup of $((large_limit >> 20)) MiB"
    rmdir "$limit_group" 2>/dev/null || true
  else
    say "  without a limit of memory: no cgroup can be made here"
  fi
}
