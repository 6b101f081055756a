#!/usr/bin/env bash
# Starts a PostgreSQL server of its own in the folder DIR, on 127.0.0.1:PORT, with the user postgres and the password
# "waxwing". Installs Debian's package if it is missing and the user is root. Arguments go to postgres. Prints the process id.
set -euo pipefail
: "${DIR:?}" "${PORT:?}"
find_programs() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1; }
bin=$(find_programs)
if [ -z "$bin" ]; then
  [ "$(id -u)" = 0 ] || { echo "install the package postgresql first" >&2; exit 1; }
  export DEBIAN_FRONTEND=noninteractive
  { apt-get -qq -o DPkg::Lock::Timeout=300 update && apt-get -qq -o DPkg::Lock::Timeout=300 install -y \
    --no-install-recommends postgresql; } >&2 </dev/null
  bin=$(find_programs)
fi
# PostgreSQL refuses to run as root.
as_owner() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; else "$@"; fi; }
mkdir -p "$DIR"
chmod 755 "$DIR"
if [ ! -e "$DIR/data/PG_VERSION" ]; then
  mkdir -p "$DIR/data"
  echo waxwing >"$DIR/password"
  [ "$(id -u)" != 0 ] || chown -R postgres: "$DIR/data" "$DIR/password"
  as_owner "$bin/initdb" -D "$DIR/data" -U postgres --encoding UTF8 --locale C.UTF-8 --auth scram-sha-256 --no-sync \
    --pwfile "$DIR/password" >/dev/null
fi
[ "$(id -u)" != 0 ] || chown postgres: "$DIR"
as_owner "$bin/postgres" -D "$DIR/data" -k "$DIR" -h 127.0.0.1 -p "$PORT" -c shared_buffers=64MB -c max_connections=200 \
  -c logging_collector=off "$@" >>"$DIR/log" 2>&1 </dev/null &
starting=$!
for _ in $(seq 600); do
  if "$bin/pg_isready" -q -h 127.0.0.1 -p "$PORT"; then
    head -1 "$DIR/data/postmaster.pid"
    exit
  fi
  kill -0 "$starting" 2>/dev/null || break
  sleep 0.1
done
tail -20 "$DIR/log" >&2
echo "PostgreSQL did not start" >&2
exit 1
