#!/usr/bin/env bash
# Whatever was acknowledged survives: see test/durability/README.md. Runs the short form of all tests, in about three minutes.
# Arguments choose tests: test/durability/run.sh kill soak. LONG=1 runs the long form.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ "${LONG:-}" = 1 ]; then
  unset CI
  most=7200000
else
  export CI=${CI:-true}
  most=600000
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
