#!/usr/bin/env bash
# The PostgreSQL driver on a server of its own: test/postgresql/README.md. Arguments choose test files: run.sh
# contract crash; `dialogues` are those of test/compliance.
set -euo pipefail
cd "$(dirname "$0")/../.."
source test/postgresql/with-server.sh
[ $# -gt 0 ] || set -- contract opening cuts crash migration
failed=()
for name in "$@"; do
  if [ "$name" = dialogues ]; then
    # Without those that start the program, and those that damage each record of each store, which take long.
    WAXWING_STORAGE=postgresql npm test -- compliance/ '!compliance/cli' '!compliance/clock' '!damaged' || failed+=("$name")
    continue
  fi
  node --test --test-reporter=dot --test-timeout=600000 "dist/test/postgresql/$name.test.js" || failed+=("$name")
done
[ ${#failed[@]} -eq 0 ] || {
  echo "postgresql: failed: ${failed[*]}" >&2
  exit 1
}
