#!/usr/bin/env bash
# kafka.sh - a real Apache Kafka (KRaft, combined mode) on 127.0.0.1 for development, tests, benchmarks and CI.
# It needs no Docker and no installation: the broker's jars come from Maven Central, once, into a cache.
#
#   kafka.sh start   [--port 19092|free] [--dir DIR] [--nodes 1|2|3] [--security plaintext|tls-scram] [--set key=value ...] [--fresh]
#   kafka.sh status  [--dir DIR]            what runs, on which address
#   kafka.sh env     [--dir DIR]            shell assignments for tests:  eval "$(kafka.sh env)"
#   kafka.sh stop    [--dir DIR] [--node N] SIGTERM, and wait
#   kafka.sh kill    [--dir DIR] [--node N] SIGKILL (fault tests)
#   kafka.sh pause   [--dir DIR] [--node N] SIGSTOP (fault tests: a broker that hangs);  resume = SIGCONT
#   kafka.sh restart [--dir DIR] [--node N] stop if running, start again on the same data
#   kafka.sh wipe    [--dir DIR]            stop and delete DIR
#   kafka.sh fetch                          only download the broker into the cache
#   kafka.sh warm    [--port P]             once: make a class archive in the cache, with it a start needs 40 % less CPU
#   kafka.sh tool [--dir DIR] CLASS args... run an admin tool; a CLASS without a dot is taken from org.apache.kafka.tools
#                                           e.g. kafka.sh tool TopicCommand --bootstrap-server 127.0.0.1:19092 --list
#
# `start` on a DIR that was used before keeps its data and settings (--fresh wipes it first; --set adds broker settings). Node i (from 1) listens for clients on
# PORT+2(i-1) and has its controller on the port after that; --port free looks for ports that are not in use. The bootstrap address is the only thing on stdout.
#
# Needs: bash, java >= 17, mvn (first use only), openssl (tls-scram only). On Debian or Ubuntu:
#   apt-get install default-jre-headless maven
# Environment: KAFKA_VERSION, KAFKA_SH_CACHE (downloads), KAFKA_SH_DIR (default DIR), KAFKA_HEAP (1g), KAFKA_SH_TIMEOUT (60 s),
# KAFKA_JAVA_OPTS (e.g. -XX:TieredStopAtLevel=1: quickest start, for functional tests, not for figures),
# MVN_ARGS (more arguments for mvn, e.g. "-s settings.xml").
set -euo pipefail
umask 077

KAFKA_VERSION=${KAFKA_VERSION:-4.3.1}
SCALA_VERSION=2.13
LOG4J_VERSION=${LOG4J_VERSION:-2.25.4}
CACHE=${KAFKA_SH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kafka-sh}
DIR=${KAFKA_SH_DIR:-${TMPDIR:-/tmp}/kafka-sh-$(id -u)}
HEAP=${KAFKA_HEAP:-1g}
READY_TIMEOUT=${KAFKA_SH_TIMEOUT:-60}
JAVA=${JAVA_HOME:+$JAVA_HOME/bin/}java

say() { printf '%s\n' "$*" >&2; }
die() { say "kafka.sh: $*"; exit 1; }

# ---------------------------------------------------------------- the broker's jars
LIBS=$CACHE/kafka-$KAFKA_VERSION-log4j-$LOG4J_VERSION
fetch() {
  [[ -e $LIBS/.complete ]] && return 0
  command -v mvn >/dev/null || die "mvn is needed to download Kafka $KAFKA_VERSION (Debian: apt-get install maven)"
  mkdir -p "$CACHE"
  local tmp; tmp=$(mktemp -d "$CACHE/.fetch.XXXXXX")
  cat >"$tmp/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka-sh</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_$SCALA_VERSION</artifactId><version>$KAFKA_VERSION</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$KAFKA_VERSION</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>$LOG4J_VERSION</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>$LOG4J_VERSION</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-1.2-api</artifactId><version>$LOG4J_VERSION</version></dependency>
  </dependencies>
</project>
POM
  say "kafka.sh: downloading Kafka $KAFKA_VERSION (once)"
  # shellcheck disable=SC2086
  if ! mvn -q -B -f "$tmp/pom.xml" ${MVN_ARGS:-} org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
      -DincludeScope=runtime -DoutputDirectory="$tmp/libs" >"$tmp/mvn.log" 2>&1; then
    grep -m3 ERROR "$tmp/mvn.log" >&2 || tail -5 "$tmp/mvn.log" >&2
    rm -rf "$tmp"; die "could not resolve Kafka $KAFKA_VERSION"
  fi
  touch "$tmp/libs/.complete"
  mv "$tmp/libs" "$LIBS" 2>/dev/null || true # another run may have won the race
  rm -rf "$tmp"
  [[ -e $LIBS/.complete ]] || die "no $LIBS"
}

# ---------------------------------------------------------------- small helpers
load() { # settings of the cluster in DIR
  [[ -f $DIR/cluster.env ]] || die "no cluster in $DIR (kafka.sh start)"
  # shellcheck disable=SC1091
  . "$DIR/cluster.env"
}
client_port() { echo $((PORT + 2 * ($1 - 1))); }
controller_port() { echo $((PORT + 2 * ($1 - 1) + 1)); }
bootstrap() { local i out=''; for ((i = 1; i <= NODES; i++)); do out+=${out:+,}127.0.0.1:$(client_port "$i"); done; echo "$out"; }
marker() { echo "-Dkafka.sh.node=$DIR/node$1"; }
command_of() { # the command line of pid $1; small systems have /proc but no ps
  if [[ -r /proc/$1/cmdline ]]; then tr '\0' ' ' <"/proc/$1/cmdline"; else ps -p "$1" -o command= 2>/dev/null; fi
}
state_of() { # one letter, T = paused
  if [[ -r /proc/$1/stat ]]; then sed 's/.*) //; s/ .*//' "/proc/$1/stat"; else ps -o state= -p "$1" | cut -c1; fi
}
pid_of() { # prints the pid of node $1, if it is alive and really ours
  local p; p=$(cat "$DIR/node$1/pid" 2>/dev/null) || return 1
  [[ -n $p ]] && command_of "$p" | grep -qF -- "$(marker "$1")" && echo "$p"
}
random_word() { head -c 18 /dev/urandom | base64 | tr -dc 'A-Za-z0-9'; }
port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
nodes_arg() { if [[ -n $NODE ]]; then echo "$NODE"; else seq 1 "$NODES"; fi; }
wait_gone() { local i; for ((i = 0; i < $2 * 20; i++)); do kill -0 "$1" 2>/dev/null || return 0; sleep 0.05; done; return 1; }

# ---------------------------------------------------------------- TLS and SCRAM
make_tls() {
  command -v openssl >/dev/null || die "openssl is needed for tls-scram"
  mkdir -p "$DIR/tls"; (
    cd "$DIR/tls"
    openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=kafka.sh test CA" \
      -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign -keyout ca.key -out ca.pem
    openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout server.key -out server.csr
    printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' >server.ext
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -extfile server.ext -out server.pem
    openssl pkcs8 -topk8 -nocrypt -in server.key -out server.p8
    cat server.p8 server.pem ca.pem >keystore.pem # the broker reads PEM: no keytool needed
  ) >"$DIR/tls/openssl.log" 2>&1 || die "openssl failed, see $DIR/tls/openssl.log"
}
jaas() { printf 'org.apache.kafka.common.security.scram.ScramLoginModule required username="%s" password="%s";' "$1" "$2"; }

# ---------------------------------------------------------------- configuration
write_config() { # node
  local n=$1 i rf=$NODES isr=$((NODES > 2 ? 2 : 1)) voters='' proto=PLAINTEXT
  for ((i = 1; i <= NODES; i++)); do voters+=${voters:+,}$i@127.0.0.1:$(controller_port "$i"); done
  [[ $SECURITY == tls-scram ]] && proto=SASL_SSL
  mkdir -p "$DIR/node$n"
  cat >"$DIR/node$n/server.properties" <<CONF
process.roles=broker,controller
node.id=$n
controller.quorum.voters=$voters
listeners=CLIENT://127.0.0.1:$(client_port "$n"),CONTROLLER://127.0.0.1:$(controller_port "$n")
advertised.listeners=CLIENT://127.0.0.1:$(client_port "$n")
listener.security.protocol.map=CLIENT:$proto,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENT
controller.listener.names=CONTROLLER
log.dirs=$DIR/node$n/data
auto.create.topics.enable=false
delete.topic.enable=true
default.replication.factor=$rf
min.insync.replicas=$isr
offsets.topic.replication.factor=$rf
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=$rf
transaction.state.log.min.isr=$isr
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=$rf
share.coordinator.state.topic.min.isr=$isr
share.coordinator.state.topic.num.partitions=8
group.initial.rebalance.delay.ms=0
group.streams.initial.rebalance.delay.ms=0
# Test data often carries old event times: never delete by age unless a topic asks for it.
log.retention.ms=-1
log.retention.bytes=-1
CONF
  if [[ $SECURITY == tls-scram ]]; then
    cat >>"$DIR/node$n/server.properties" <<CONF
ssl.keystore.type=PEM
ssl.keystore.location=$DIR/tls/keystore.pem
ssl.truststore.type=PEM
ssl.truststore.location=$DIR/tls/ca.pem
ssl.client.auth=none
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.client.scram-sha-512.sasl.jaas.config=$(jaas broker "$BROKER_PASSWORD")
CONF
  fi
  # broker settings given with --set come last and win
  [[ -z ${EXTRA:-} ]] || printf '%s\n' "$EXTRA" >>"$DIR/node$n/server.properties"
  cat >"$DIR/log4j2.properties" <<'CONF'
status = error
appender.console.type = Console
appender.console.name = C
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %-5p %c{1} - %m%n
rootLogger.level = info
rootLogger.appenderRef.c.ref = C
logger.quiet.name = org.apache.kafka.clients
logger.quiet.level = warn
CONF
  cat >"$DIR/tool-log4j2.properties" <<'CONF'
status = error
appender.console.type = Console
appender.console.name = C
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %-5p %m%n
rootLogger.level = warn
rootLogger.appenderRef.c.ref = C
CONF
}
write_client_config() {
  if [[ $SECURITY == plaintext ]]; then
    echo "security.protocol=PLAINTEXT" >"$DIR/client.properties"
  else
    cat >"$DIR/client.properties" <<CONF
security.protocol=SASL_SSL
ssl.truststore.type=PEM
ssl.truststore.location=$DIR/tls/ca.pem
sasl.mechanism=SCRAM-SHA-512
sasl.jaas.config=$(jaas "$CLIENT_USER" "$CLIENT_PASSWORD")
CONF
  fi
}

# ---------------------------------------------------------------- actions
run_tool() {
  local logcfg=()
  [[ -f $DIR/tool-log4j2.properties ]] && logcfg=("-Dlog4j2.configurationFile=$DIR/tool-log4j2.properties")
  "$JAVA" -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto ${logcfg[@]+"${logcfg[@]}"} -cp "$LIBS/*" "$@"
}
format_node() {
  local n=$1 args=()
  [[ -f $DIR/node$n/data/meta.properties ]] && return 0
  if [[ $SECURITY == tls-scram ]]; then
    args+=(--add-scram "SCRAM-SHA-512=[name=broker,password=$BROKER_PASSWORD]")
    args+=(--add-scram "SCRAM-SHA-512=[name=$CLIENT_USER,password=$CLIENT_PASSWORD]")
  fi
  run_tool kafka.tools.StorageTool format -t "$CLUSTER_ID" -c "$DIR/node$n/server.properties" \
    ${args[@]+"${args[@]}"} >"$DIR/node$n/format.log" 2>&1 || { cat "$DIR/node$n/format.log" >&2; die "format failed"; }
}
launch_node() {
  local n=$1 bg=() cds=()
  [[ -f $LIBS/classes.jsa ]] && cds=("-XX:SharedArchiveFile=$LIBS/classes.jsa" -Xshare:auto -Xlog:cds=off)
  [[ -z ${DUMP:-} ]] || cds=("-XX:ArchiveClassesAtExit=$DUMP" -Xlog:cds=off -Xlog:cds+dynamic=off)
  pid_of "$n" >/dev/null && return 0
  port_open "$(client_port "$n")" && die "port $(client_port "$n") is taken by another process"
  command -v setsid >/dev/null && bg=(setsid)
  : >"$DIR/node$n/server.log"
  # shellcheck disable=SC2086
  ${bg[@]+"${bg[@]}"} nohup "$JAVA" "-Xms256m" "-Xmx$HEAP" -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:+ExitOnOutOfMemoryError \
    ${cds[@]+"${cds[@]}"} ${KAFKA_JAVA_OPTS:-} \
    -Djava.awt.headless=true "$(marker "$n")" "-Dlog4j2.configurationFile=$DIR/log4j2.properties" \
    -cp "$LIBS/*" kafka.Kafka "$DIR/node$n/server.properties" >>"$DIR/node$n/server.log" 2>&1 </dev/null &
  echo $! >"$DIR/node$n/pid"
}
await_node() { # the broker logs this line after it was unfenced by the controller
  local n=$1 i tries=0
  for ((i = 0; i < READY_TIMEOUT * 10; i++)); do
    if grep -q 'Kafka Server started' "$DIR/node$n/server.log" && port_open "$(client_port "$n")"; then return 0; fi
    if ! pid_of "$n" >/dev/null; then # a connection of somebody else may have had its port for a moment
      tail -15 "$DIR/node$n/server.log" >&2
      ((tries++ < 3)) || die "node $n died at start, see $DIR/node$n/server.log"
      say "node $n died at start; again"
      sleep 1
      launch_node "$n"
    fi
    sleep 0.1
  done
  die "node $n is not ready after $READY_TIMEOUT s, see $DIR/node$n/server.log"
}
up() { local n; for n in $(nodes_arg); do launch_node "$n"; done; for n in $(nodes_arg); do await_node "$n"; done; }

need_java() {
  local v; v=$("$JAVA" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -1) || true
  [[ ${v:-0} -ge 17 ]] || die "java 17 or newer is needed, '$JAVA' is ${v:-missing} (Debian: apt-get install default-jre-headless, or set JAVA_HOME)"
}
free_ports() { # COUNT: the first of as many in a row, below the range from which clients take theirs
  local i p port
  for ((i = 0; i < 100; i++)); do
    port=$((20000 + RANDOM % 5990 * 2))
    for ((p = port; p < port + $1; p++)); do port_open "$p" && continue 2; done
    echo "$port"; return 0
  done
  die "no free ports"
}
cmd_start() {
  need_java
  fetch
  [[ $opt_fresh == no ]] || cmd_wipe
  if [[ -f $DIR/cluster.env ]]; then
    local p=${opt_port/#free/} s=$opt_security k=$opt_nodes; load
    if [[ ${p:-$PORT} != "$PORT" || ${s:-$SECURITY} != "$SECURITY" || ${k:-$NODES} != "$NODES" || ${#opt_set[@]} -gt 0 ]]; then
      die "$DIR holds a cluster with port=$PORT nodes=$NODES security=$SECURITY; use --fresh, or another --dir"
    fi
  else
    PORT=${opt_port:-19092} NODES=${opt_nodes:-1} SECURITY=${opt_security:-plaintext}
    [[ $NODES =~ ^[123]$ ]] || die "--nodes must be 1, 2 or 3"
    [[ $PORT != free ]] || PORT=$(free_ports $((2 * NODES)))
    [[ $PORT =~ ^[0-9]+$ ]] || die "--port must be a number, or free"
    [[ $SECURITY == plaintext || $SECURITY == tls-scram ]] || die "--security must be plaintext or tls-scram"
    EXTRA=$(printf '%s\n' ${opt_set[@]+"${opt_set[@]}"})
    CLUSTER_ID=$(head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | tr -d '=\n')
    CLIENT_USER=client
    CLIENT_PASSWORD=$(random_word) BROKER_PASSWORD=$(random_word)
    mkdir -p "$DIR"
    for n in 1 2 3; do rm -rf "$DIR/node$n"; done # left by a start that did not get this far
    for v in PORT NODES SECURITY EXTRA CLUSTER_ID CLIENT_USER CLIENT_PASSWORD BROKER_PASSWORD; do printf '%s=%q\n' "$v" "${!v}"; done >"$DIR/cluster.env"
  fi
  [[ $SECURITY == plaintext || -f $DIR/tls/keystore.pem ]] || make_tls
  local n
  for ((n = 1; n <= NODES; n++)); do write_config "$n"; done
  write_client_config
  for ((n = 1; n <= NODES; n++)); do format_node "$n"; done
  up
  say "kafka.sh: Kafka $KAFKA_VERSION, $NODES node(s), $SECURITY, dir $DIR, client config $DIR/client.properties"
  bootstrap
}
cmd_stop() {
  load; local n p
  for n in $(nodes_arg); do if p=$(pid_of "$n"); then kill -CONT "$p"; kill -TERM "$p"; fi; done
  for n in $(nodes_arg); do
    if p=$(pid_of "$n"); then wait_gone "$p" "${STOP_TIMEOUT:-30}" || { say "node $n does not stop, killing it"; kill -KILL "$p" || true; wait_gone "$p" 10; }; fi
    rm -f "$DIR/node$n/pid"
  done
}
cmd_kill() {
  load; local n p
  for n in $(nodes_arg); do if p=$(pid_of "$n"); then kill -KILL "$p"; wait_gone "$p" 10; rm -f "$DIR/node$n/pid"; else say "node $n is not running"; fi; done
}
cmd_signal() { load; local n p; for n in $(nodes_arg); do p=$(pid_of "$n") || die "node $n is not running"; kill "-$1" "$p"; done; }
cmd_status() {
  load; local n p st all=0
  for ((n = 1; n <= NODES; n++)); do
    if p=$(pid_of "$n"); then
      st=starting
      grep -q 'Kafka Server started' "$DIR/node$n/server.log" && st=running
      [[ $(state_of "$p") == T ]] && st=paused
    else st=stopped p=- all=3; fi
    echo "node $n: $st pid=$p client=127.0.0.1:$(client_port "$n") log=$DIR/node$n/server.log"
  done
  echo "bootstrap: $(bootstrap)  security: $SECURITY"
  return $all
}
cmd_env() {
  load
  printf 'KAFKA_BOOTSTRAP=%q\nKAFKA_SECURITY=%q\n' "$(bootstrap)" "$SECURITY"
  [[ $SECURITY == plaintext ]] || printf 'KAFKA_CA_FILE=%q\nKAFKA_USER=%q\nKAFKA_PASSWORD=%q\nKAFKA_SASL_MECHANISM=SCRAM-SHA-512\n' \
    "$DIR/tls/ca.pem" "$CLIENT_USER" "$CLIENT_PASSWORD"
  echo 'export KAFKA_BOOTSTRAP KAFKA_SECURITY KAFKA_CA_FILE KAFKA_USER KAFKA_PASSWORD KAFKA_SASL_MECHANISM'
}
cmd_wipe() { if [[ -f $DIR/cluster.env ]]; then cmd_stop; rm -rf "$DIR"; fi; }
cmd_warm() { # a broker that starts and stops once, in a folder of its own
  fetch
  DIR=$(mktemp -d "$CACHE/.warm.XXXXXX") DUMP=$LIBS/classes.jsa.$$ opt_nodes=1 opt_security=plaintext
  cmd_start >/dev/null
  STOP_TIMEOUT=120 cmd_wipe
  [[ -s $DUMP ]] && mv -f "$DUMP" "$LIBS/classes.jsa"
  say "kafka.sh: class archive $LIBS/classes.jsa"
}
usage() { sed -n '2,/^set -euo/p' "$0" | sed '$d; s/^# \{0,1\}//'; }

# ---------------------------------------------------------------- command line
[[ $# -gt 0 ]] || { usage; exit 2; }
cmd=$1; shift
NODE='' opt_fresh=no opt_port='' opt_nodes='' opt_security='' opt_set=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --port) opt_port=$2; shift 2 ;;
    --dir) DIR=$2; shift 2 ;;
    --nodes) opt_nodes=$2; shift 2 ;;
    --node) NODE=$2; shift 2 ;;
    --security) opt_security=$2; shift 2 ;;
    --fresh) opt_fresh=yes; shift ;;
    --set) [[ $2 == *=* ]] || die "--set wants key=value"; opt_set+=("$2"); shift 2 ;;
    *) break ;;
  esac
done
[[ $cmd == tool || $# -eq 0 ]] || die "what is '$1'?"
[[ $DIR == /* ]] || DIR=$PWD/$DIR
case $cmd in
  start) cmd_start ;;
  stop) cmd_stop ;;
  kill) cmd_kill ;;
  pause) cmd_signal STOP ;;
  resume) cmd_signal CONT ;;
  restart) fetch; cmd_stop; up; bootstrap ;;
  status) cmd_status ;;
  env) cmd_env ;;
  wipe) cmd_wipe ;;
  fetch) fetch; echo "$LIBS" ;;
  warm) cmd_warm ;;
  tool)
    [[ $# -gt 0 ]] || die "tool: which class?"
    fetch; class=$1; shift
    [[ $class == *.* ]] || class=org.apache.kafka.tools.$class
    run_tool "$class" "$@" ;;
  help | -h | --help) usage ;;
  *) usage; exit 2 ;;
esac
