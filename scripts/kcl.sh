#!/usr/bin/env bash
# A worker of the Kinesis Client Library (Java), beside which the leases are tested.
#
#   kcl.sh build   fetch the library from Maven Central and compile the worker, the first time
#   kcl.sh run STREAM APPLICATION WORKER KINESIS_ENDPOINT DYNAMODB_ENDPOINT FAILOVER_MS
#                  run it until its input ends; it prints what happens, a line each
#
# Needs Java 17 and Maven. Cache: $MILLSTREAM_CACHE, else the user's cache folder. The version is in kcl/pom.xml.
set -euo pipefail
here=$(cd "$(dirname "$0")/kcl" && pwd)
version=$(sed -n 's|.*<artifactId>amazon-kinesis-client</artifactId><version>\(.*\)</version>.*|\1|p' "$here/pom.xml")
home=${MILLSTREAM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/millstream}/kcl-$version

build() {
  mkdir -p "$home"
  exec 9>"$home/lock"
  flock 9
  if [ ! -e "$home/.ok" ]; then
    mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$home/lib" >&2
    touch "$home/.ok"
  fi
  if [ ! "$home/Worker.class" -nt "$here/Worker.java" ]; then
    javac -cp "$home/lib/*" -d "$home" "$here/Worker.java" >&2
  fi
  exec 9>&-
}

case ${1:-} in
  build) build ;;
  run)
    [ $# -eq 7 ] || { echo "usage: kcl.sh run STREAM APPLICATION WORKER KINESIS_ENDPOINT DYNAMODB_ENDPOINT FAILOVER_MS" >&2; exit 2; }
    shift
    build
    exec java -XX:TieredStopAtLevel=1 -Xmx256m -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$home:$home/lib/*" Worker "$@" ;;
  *) echo "usage: kcl.sh build|run ..." >&2; exit 2 ;;
esac
