#!/usr/bin/env bash
# Starts a MinIO server of its own (S3) in the folder DIR, on 127.0.0.1:PORT, with the key "waxwing" and the secret
# "waxwing-secret". Builds it with Go if that has not been done: about four minutes, once. Prints the process id.
set -euo pipefail
: "${DIR:?}" "${PORT:?}"
version=v0.0.0-20260212201848-7aac2a2c5b7c
cache=${XDG_CACHE_HOME:-$HOME/.cache}/waxwing-tests
program=$cache/minio-$version/minio
mkdir -p "$cache" "$DIR/data"
(
  flock 9
  [ -x "$program" ] && exit
  command -v go >/dev/null || { echo "install Go first: it builds MinIO" >&2; exit 1; }
  rm -rf "$cache/minio.part"
  GOBIN=$cache/minio.part GOFLAGS=-buildvcs=false CGO_ENABLED=0 \
    go install -trimpath -ldflags '-s -w' "github.com/minio/minio@$version" >"$DIR/build.log" 2>&1 </dev/null ||
    { tail -20 "$DIR/build.log" >&2; exit 1; }
  mv "$cache/minio.part" "$cache/minio-$version"
) 9>"$cache/minio.lock"
export MINIO_ROOT_USER=waxwing MINIO_ROOT_PASSWORD=waxwing-secret MINIO_BROWSER=off MINIO_UPDATE=off
export GOMEMLIMIT=384MiB HOME=$DIR
# A key of 32 bytes, with which MinIO can encrypt.
export MINIO_KMS_SECRET_KEY=waxwing:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=
"$program" server "$DIR/data" --quiet --address "127.0.0.1:$PORT" "$@" >>"$DIR/log" 2>&1 </dev/null &
starting=$!
for _ in $(seq 600); do
  if curl -fsS -m 3 -o /dev/null "http://127.0.0.1:$PORT/minio/health/ready" 2>/dev/null; then
    echo "$starting"
    exit
  fi
  kill -0 "$starting" 2>/dev/null || break
  sleep 0.1
done
tail -20 "$DIR/log" >&2
echo "MinIO did not start" >&2
exit 1
