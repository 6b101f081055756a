#!/usr/bin/env bash
# Nodes that are processes, over a PostgreSQL of their own: test/cluster/README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
source test/postgresql/with-server.sh
[ $# -gt 0 ] || set -- nodes failures
failed=()
for name in "$@"; do
  node --test --test-reporter=spec --test-timeout=300000 "dist/test/cluster/$name.test.js" || failed+=("$name")
done
[ ${#failed[@]} -eq 0 ] || {
  echo "cluster: failed: ${failed[*]}" >&2
  exit 1
}
