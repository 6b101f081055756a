#!/usr/bin/env bash
# The web client in headless Chromium: chat, or the files named (`run.sh chat push`). Installs what is missing: npm packages into
# .interop/web, and Debian's chromium if it runs as root. Without Chromium it fails if CI is true, and is skipped with a message
# otherwise. SCREENSHOTS=1 writes the pictures of docs/screenshots anew.
set -euo pipefail
cd "$(dirname "$0")/../.."
place=$PWD/.interop/web
mkdir -p "$place"

missing() {
  if [ "${CI:-}" = true ]; then
    echo "web: $1 is missing and cannot be installed" >&2
    exit 1
  fi
  echo "web: SKIPPED, $1 is missing and cannot be installed" >&2
  exit 0
}

need_chromium() {
  command -v chromium >/dev/null && return 0
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  echo "web: installing chromium …" >&2
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >"$place/apt.log" 2>&1 ||
    { cat "$place/apt.log" >&2; return 1; }
}

need_playwright() {
  local files=(test/web/package.json test/web/package-lock.json)
  [ "$(cat "${files[@]}" | sha256sum)" = "$(cat "$place/npm.stamp" 2>/dev/null)" ] && return 0
  echo "web: installing playwright-core and axe-core from npm …" >&2
  cp "${files[@]}" "$place/"
  (cd "$place" && npm ci --ignore-scripts --no-audit --no-fund >npm.log 2>&1) || { cat "$place/npm.log" >&2; return 1; }
  cat "${files[@]}" | sha256sum >"$place/npm.stamp"
}

node scripts/setup.mjs
node scripts/setup.mjs server
need_chromium || missing chromium
need_playwright || missing 'what npm has'
exec node --test --test-concurrency=1 --test-timeout=1800000 $(printf 'dist/test/web/%s.test.js ' "${@:-chat}")
