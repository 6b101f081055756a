#!/usr/bin/env bash
# Starts a Cassandra node of its own in the folder DIR, on 127.0.0.1:PORT (and PORT+1 for other nodes, PORT+2 for JMX).
# Needs Java 17; fetches the jars with Maven if that has not been done. Prints the process id.
set -euo pipefail
: "${DIR:?}" "${PORT:?}"
here=$(cd "$(dirname "$0")" && pwd)
version=5.0.9
cache=${XDG_CACHE_HOME:-$HOME/.cache}/waxwing-tests
jars=$cache/cassandra-$version
mkdir -p "$cache" "$DIR"
need() { # COMMAND PACKAGE
  command -v "$1" >/dev/null && return
  [ "$(id -u)" = 0 ] || { echo "install the package $2 first" >&2; exit 1; }
  export DEBIAN_FRONTEND=noninteractive
  { apt-get -qq -o DPkg::Lock::Timeout=300 update && apt-get -qq -o DPkg::Lock::Timeout=300 install -y \
    --no-install-recommends "$2"; } >&2 </dev/null
}
need java openjdk-17-jre-headless
(
  flock 9
  [ -d "$jars" ] && exit
  need mvn maven
  rm -rf "$jars.part"
  mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$jars.part" \
    >"$DIR/maven.log" 2>&1 </dev/null || { tail -20 "$DIR/maven.log" >&2; exit 1; }
  mv "$jars.part" "$jars"
) 9>"$cache/cassandra.lock"
cat >"$DIR/cassandra.yaml" <<YAML
cluster_name: waxwing
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
native_transport_port: $PORT
storage_port: $((PORT + 1))
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: "127.0.0.1:$((PORT + 1))"
endpoint_snitch: SimpleSnitch
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
num_tokens: 4
data_file_directories: ["$DIR/data"]
commitlog_directory: $DIR/commitlog
hints_directory: $DIR/hints
saved_caches_directory: $DIR/saved_caches
cdc_raw_directory: $DIR/cdc
commitlog_sync: periodic
commitlog_sync_period: 1000ms
commitlog_segment_size: 8MiB
commitlog_total_space: 256MiB
auto_snapshot: false
memtable_heap_space: 64MiB
memtable_offheap_space: 64MiB
file_cache_size: 32MiB
networking_cache_size: 32MiB
key_cache_size: 8MiB
concurrent_compactors: 1
# The machine may be busy with other tests.
read_request_timeout: 20s
range_request_timeout: 20s
write_request_timeout: 20s
cas_contention_timeout: 10s
request_timeout: 20s
YAML
# What Cassandra needs of Java 17.
open=()
for package in java.base/jdk.internal.misc java.base/jdk.internal.ref java.base/sun.nio.ch \
  java.management.rmi/com.sun.jmx.remote.internal.rmi java.rmi/sun.rmi.registry java.rmi/sun.rmi.server \
  java.rmi/sun.rmi.transport.tcp java.sql/java.sql java.base/java.lang.ref jdk.unsupported/sun.misc; do
  open+=("--add-exports=$package=ALL-UNNAMED")
done
for package in java.base/java.io java.base/java.lang java.base/java.lang.module java.base/java.lang.reflect \
  java.base/java.math java.base/java.net java.base/java.nio java.base/java.util java.base/java.util.concurrent \
  java.base/java.util.concurrent.atomic java.base/jdk.internal.loader java.base/jdk.internal.math \
  java.base/jdk.internal.module java.base/jdk.internal.ref java.base/jdk.internal.reflect \
  java.base/jdk.internal.util.jar java.base/sun.nio.ch jdk.management/com.sun.management.internal \
  java.rmi/sun.rmi.transport.tcp; do
  open+=("--add-opens=$package=ALL-UNNAMED")
done
nice -n 5 java "${open[@]}" "-Xms${HEAP:-384}m" "-Xmx${HEAP:-384}m" -Xss512k -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
  -XX:MaxDirectMemorySize=192m -XX:+ExitOnOutOfMemoryError -Djdk.attach.allowAttachSelf=true \
  -Dio.netty.tryReflectionSetAccessible=true -Djava.awt.headless=true \
  "-Dcassandra.config=file://$DIR/cassandra.yaml" "-Dlogback.configurationFile=$here/logback.xml" \
  "-Dcassandra.storagedir=$DIR" "-Dcassandra.logdir=$DIR" "-Dcassandra.jmx.local.port=$((PORT + 2))" \
  -Dcassandra.ring_delay_ms=0 -Dcassandra.skip_wait_for_gossip_to_settle=0 -Dcassandra.shutdown_announce_in_ms=200 \
  -Dcassandra-foreground=yes -cp "$jars/*" org.apache.cassandra.service.CassandraDaemon >>"$DIR/log" 2>&1 </dev/null &
starting=$!
for _ in $(seq 1800); do
  if (: <"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then
    echo "$starting"
    exit
  fi
  kill -0 "$starting" 2>/dev/null || break
  sleep 0.1
done
tail -20 "$DIR/log" >&2
echo "Cassandra did not start" >&2
exit 1
