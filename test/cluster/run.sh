#!/usr/bin/env bash
# Nodes that are processes, over a PostgreSQL of their own: test/cluster/README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
source test/postgresql/with-server.sh
[ $# -gt 0 ] || set -- nodes failures
failed=()
for name in "$@"; do
  if [ "$name" = balancer ] && ! command -v haproxy >/dev/null; then
    [ "$(id -u)" = 0 ] || { echo "install the package haproxy first" >&2; exit 1; }
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends haproxy openssl >&2
  fi
  node --test --test-reporter=spec --test-timeout=600000 "dist/test/cluster/$name.test.js" || failed+=("$name")
done
[ ${#failed[@]} -eq 0 ] || {
  echo "cluster: failed: ${failed[*]}" >&2
  exit 1
}
