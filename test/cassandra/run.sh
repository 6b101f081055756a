#!/usr/bin/env bash
# The Cassandra driver on a node of its own: test/cassandra/README.md. Arguments choose test files: run.sh contract archive;
# `dialogues` are those of test/compliance about archives.
set -euo pipefail
cd "$(dirname "$0")/../.."
node -e "import('./scripts/setup.mjs').then(({ setupOrExit }) => setupOrExit())"
if [ -z "${WAXWING_CASSANDRA:-}" ]; then
  folder=$(mktemp -d "${TMPDIR:-/tmp}/waxwing-cassandra-XXXXXX")
  # Three free ports side by side.
  port=$(node -e "
    const open = (port) => new Promise((resolve, reject) => {
      const one = require('net').createServer().on('error', reject).listen(port, '127.0.0.1', () => resolve(one));
    });
    const find = async () => {
      const first = await open(0);
      const { port } = first.address();
      const others = await Promise.allSettled([open(port + 1), open(port + 2)]);
      for (const { value } of [{ value: first }, ...others]) value?.close();
      return others.every(({ status }) => status === 'fulfilled') ? port : find();
    };
    find().then(console.log);
  ")
  node=
  finish() {
    [ -z "$node" ] || kill -TERM "$node" 2>/dev/null || true
    for _ in $(seq 300); do kill -0 "$node" 2>/dev/null || break; sleep 0.1; done
    rm -rf "$folder"
  }
  trap finish EXIT
  node=$(DIR=$folder PORT=$port test/cassandra/start.sh)
  export WAXWING_CASSANDRA="127.0.0.1:$port"
fi
[ $# -gt 0 ] || set -- contract archive whole dialogues
failed=()
for name in "$@"; do
  if [ "$name" = dialogues ]; then
    WAXWING_STORAGE=cassandra npm test -- compliance/xep-0313 compliance/proto-mam compliance/xep-0424 \
      compliance/xep-0430 compliance/xep-0441 || failed+=("$name")
    continue
  fi
  node --test --test-reporter=dot --test-timeout=900000 "dist/test/cassandra/$name.test.js" || failed+=("$name")
done
[ ${#failed[@]} -eq 0 ] || {
  echo "cassandra: failed: ${failed[*]}" >&2
  exit 1
}
