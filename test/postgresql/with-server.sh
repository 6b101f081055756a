# For test/postgresql/run.sh and test/cluster/run.sh: starts a PostgreSQL server in a folder of its own, which ends with the
# script, and names it in WAXWING_POSTGRESQL. Durability is tested with servers of their own, so this one does not sync.
node -e "import('./scripts/setup.mjs').then(({ setupOrExit }) => setupOrExit())"
folder=$(mktemp -d "${TMPDIR:-/tmp}/waxwing-postgresql-XXXXXX")
# Making the database takes some seconds: the port must not be one that the system gives to connections meanwhile.
port=$(node -e "import('./dist/test/interop/ports.js').then(async ({ freePort }) => console.log(await freePort()))")
server=
finish() {
  [ -z "$server" ] || kill -INT "$server" 2>/dev/null || true
  for _ in $(seq 100); do kill -0 "$server" 2>/dev/null || break; sleep 0.1; done
  rm -rf "$folder"
}
trap finish EXIT
server=$(DIR=$folder PORT=$port test/postgresql/start.sh -c fsync=off)
export WAXWING_POSTGRESQL="postgresql://postgres:waxwing@127.0.0.1:$port/postgres"
