#!/usr/bin/env bash
# What was acknowledged is there, whatever happens: test/durability/README.md. Runs all of it in its short form, in about
# three minutes; arguments choose: test/durability/run.sh kill soak. LONG=1 takes the long form.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ "${LONG:-}" = 1 ]; then
  unset CI
  most=7200000
else
  export CI=${CI:-true}
  most=240000
fi
[ $# -gt 0 ] || set -- kill crash stop power faults soak hostile
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
