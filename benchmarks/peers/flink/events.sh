#!/usr/bin/env bash
# events.sh name=value ...  one run of bench.EventsJob; JAVA_OPTS adds JVM options, HEAP is the largest heap
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
exec java -XX:+UseParallelGC -Xmx"${HEAP:-1500m}" ${JAVA_OPTS:-} -Dorg.slf4j.simpleLogger.defaultLogLevel="${LOG:-error}" -Djava.io.tmpdir="${TMPDIR:-/tmp}" \
  -Drest="${REST:-19701}" --add-opens=java.base/java.util=ALL-UNNAMED --add-opens=java.base/java.lang=ALL-UNNAMED --add-opens=java.base/java.nio=ALL-UNNAMED \
  -cp "$here/target/classes:$here/target/lib/*" bench.EventsJob "$@"
