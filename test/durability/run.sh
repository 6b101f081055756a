#!/usr/bin/env bash
# What was acknowledged is there, whatever happens: test/durability/README.md. Runs all of it in its short form, in about
# two minutes; arguments choose: test/durability/run.sh kill soak. LONG=1 takes the long form. `hostile` is run by name: ten
# accounts that all send 250 KB messages to one room still get ordinary messages lost.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ "${LONG:-}" = 1 ]; then
  unset CI
  most=7200000
else
  export CI=${CI:-true}
  most=240000
fi
[ $# -gt 0 ] || set -- kill crash stop power faults soak
node -e "import('./scripts/setup.mjs').then(({ setupOrExit }) => setupOrExit())"
failed=()
for name in "$@"; do
  echo "durability: $name"
  node --test --test-reporter=spec --test-timeout="$most" "dist/test/durability/$name.js" || failed+=("$name")
done
[ ${#failed[@]} -eq 0 ] || {
  echo "durability: failed: ${failed[*]}" >&2
  exit 1
}
