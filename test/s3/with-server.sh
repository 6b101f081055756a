# For test/s3/run.sh: starts a MinIO server in a folder of its own, which ends with the script, and names it in WAXWING_S3.
node -e "import('./scripts/setup.mjs').then(({ setupOrExit }) => setupOrExit())"
folder=$(mktemp -d "${TMPDIR:-/tmp}/waxwing-s3-XXXXXX")
port=$(node -e "import('./dist/test/interop/ports.js').then(async ({ freePort }) => console.log(await freePort()))")
server=
finish() {
  [ -z "$server" ] || kill -TERM "$server" 2>/dev/null || true
  for _ in $(seq 100); do kill -0 "$server" 2>/dev/null || break; sleep 0.1; done
  rm -rf "$folder"
}
trap finish EXIT
server=$(DIR=$folder PORT=$port test/s3/start.sh)
export WAXWING_S3="http://waxwing:waxwing-secret@127.0.0.1:$port"
