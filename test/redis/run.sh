#!/usr/bin/env bash
# The Redis driver on servers of its own: test/redis/README.md. Arguments choose test files: run.sh contract away;
# `dialogues` are those of test/compliance about what may be lost. WAXWING_REDIS_PROGRAM=valkey-server: on Valkey.
set -euo pipefail
cd "$(dirname "$0")/../.."
export WAXWING_REDIS_PROGRAM=${WAXWING_REDIS_PROGRAM:-redis-server}
command -v "$WAXWING_REDIS_PROGRAM" >/dev/null || {
  [ "$(id -u)" = 0 ] || { echo "install $WAXWING_REDIS_PROGRAM first (Debian: redis-server, valkey-server)" >&2; exit 1; }
  apt-get install -y --no-install-recommends "$WAXWING_REDIS_PROGRAM" >/dev/null
}
node -e "import('./scripts/setup.mjs').then(({ setupOrExit }) => setupOrExit())"
folder=$(mktemp -d "${TMPDIR:-/tmp}/waxwing-redis-XXXXXX")
port=$(node -e "import('./dist/test/interop/ports.js').then(async ({ freePort }) => console.log(await freePort()))")
"$WAXWING_REDIS_PROGRAM" --bind 127.0.0.1 --port "$port" --dir "$folder" --save '' >"$folder/log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" || true; rm -rf "$folder"' EXIT
until grep -q 'Ready to accept connections' "$folder/log"; do
  kill -0 "$server" 2>/dev/null || { tail "$folder/log" >&2; exit 1; }
  sleep 0.1
done
export WAXWING_REDIS="127.0.0.1:$port"
[ $# -gt 0 ] || set -- contract opening many away dialogues
failed=()
for name in "$@"; do
  if [ "$name" = dialogues ]; then
    WAXWING_STORAGE=redis npm test -- compliance/xep-0012 compliance/xep-0115 compliance/xep-0163 compliance/rfc-6121 || failed+=("$name")
    continue
  fi
  node --test --test-reporter=dot --test-timeout=240000 "dist/test/redis/$name.test.js" || failed+=("$name")
done
[ ${#failed[@]} -eq 0 ] || {
  echo "redis: failed: ${failed[*]}" >&2
  exit 1
}
