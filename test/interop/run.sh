#!/usr/bin/env bash
# Real clients and other servers against the server. Installs what is missing: npm, PyPI and Go packages into .interop, and Debian
# packages if it runs as root. A program that is not available fails the run if CI is true, and is skipped with a message otherwise.
# Arguments choose test files by parts of their names: test/interop/run.sh profanity. Without arguments it runs all clients;
# test/interop/run.sh federation runs the other servers (test/interop/federation/README.md).
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
place=$root/.interop
mkdir -p "$place"

missing() {
  if [ "${CI:-}" = true ]; then
    echo "interop: $1 is missing and cannot be installed" >&2
    exit 1
  fi
  echo "interop: SKIPPED, $1 is missing and cannot be installed: $2" >&2
}

# Which files to run.
files=()
choose() {
  local file part
  for file in dist/test/interop/*.test.js dist/test/interop/federation/*.test.js; do
    [ $# -eq 0 ] && [[ $file != */federation/* ]] && files+=("$file")
    for part in "$@"; do [[ ${file#dist/test/interop/} == *"$part"* ]] && files+=("$file") && break; done
  done
  [ ${#files[@]} -gt 0 ] || { echo "interop: no test file matches $*" >&2; exit 1; }
}
has_clients() { [[ " ${files[*]}" =~ \ dist/test/interop/[^/]*\.test\.js ]]; }
has_servers() { [[ " ${files[*]}" == *' dist/test/interop/federation/'* ]]; }

# A daemon that is installed does not start on its own: its ports may be taken, and the tests start their own.
policy=/usr/sbin/policy-rc.d
without_daemons() {
  local is_ours=
  [ -e "$policy" ] || { is_ours=1; printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"; }
  local status=0
  "$@" || status=$?
  [ -z "$is_ours" ] || rm -f "$policy"
  return "$status"
}

# Debian packages, installed together so that the lists are fetched once.
need_debian() {
  local packages=()
  # With WAXWING_INTEROP_ENTER the other servers come from elsewhere.
  if has_servers && [ -z "${WAXWING_INTEROP_ENTER:-}" ]; then
    command -v prosody >/dev/null || packages+=(prosody)
    [ -n "$(find /usr/lib -name lunbound.so -print -quit)" ] || packages+=(lua-unbound)
    command -v ejabberdctl >/dev/null || packages+=(ejabberd)
  fi
  has_clients && need_clients
  [ ${#packages[@]} -eq 0 ] && return 0
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
  echo "interop: installing ${packages[*]} …" >&2
  without_daemons install_debian "${packages[@]}" >"$place/apt.log" 2>&1 || cat "$place/apt.log" >&2
}

install_debian() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"
}

need_clients() {
  command -v tmux >/dev/null || packages+=(tmux)
  command -v profanity >/dev/null || packages+=(profanity)
  command -v python3 >/dev/null || packages+=(python3)
  command -v go-sendxmpp >/dev/null || packages+=(go-sendxmpp)
  command -v turnserver >/dev/null || packages+=(coturn)
  command -v biboumi >/dev/null || packages+=(biboumi)
  command -v haproxy >/dev/null || packages+=(haproxy)
  command -v nginx >/dev/null || packages+=(nginx-light)
  python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
}

# Installs again when the requirements changed: up_to_date NAME FILE... (and done NAME FILE... afterwards).
fingerprint() { { cat "$@"; node -v; } | sha256sum | cut -d' ' -f1; }
up_to_date() { [ "$(cat "$place/$1.stamp" 2>/dev/null)" = "$(fingerprint "${@:2}")" ]; }
done_with() { fingerprint "${@:2}" >"$place/$1.stamp"; }

need_npm() {
  local files=(test/interop/package.json test/interop/package-lock.json)
  up_to_date npm "${files[@]}" && return 0
  echo "interop: installing client libraries from npm …" >&2
  cp "${files[@]}" "$place/"
  (cd "$place" && npm ci --no-audit --no-fund >npm.log 2>&1) || { cat "$place/npm.log" >&2; return 1; }
  done_with npm "${files[@]}"
}

need_python() {
  local file=test/interop/requirements.txt
  up_to_date python "$file" && "$place/venv/bin/python" -c 'import slixmpp, slixmpp_omemo, aiohttp' 2>/dev/null && return 0
  echo "interop: installing slixmpp and its OMEMO from PyPI …" >&2
  rm -rf "$place/venv"
  { python3 -m venv "$place/venv" && "$place/venv/bin/pip" install --disable-pip-version-check -r "$file"; } \
    >"$place/pip.log" 2>&1 || { cat "$place/pip.log" >&2; return 1; }
  done_with python "$file"
}

need_slidge() {
  local file=test/interop/slidge-requirements.txt
  up_to_date slidge "$file" && "$place/slidge/bin/python" -c 'import slidge' 2>/dev/null && return 0
  echo "interop: installing slidge from PyPI …" >&2
  rm -rf "$place/slidge"
  { python3 -m venv "$place/slidge" && "$place/slidge/bin/pip" install --disable-pip-version-check -r "$file"; } \
    >"$place/slidge.log" 2>&1 || { cat "$place/slidge.log" >&2; return 1; }
  done_with slidge "$file"
}

# Pebble, an authority for tests of ACME.
pebble=v2.10.3
need_pebble() {
  [ "$(cat "$place/pebble.stamp" 2>/dev/null)" = "$pebble" ] && return 0
  command -v go >/dev/null || return 1
  echo "interop: installing Pebble …" >&2
  local program
  for program in pebble pebble-challtestsrv; do
    GOBIN=$place/bin go install "github.com/letsencrypt/pebble/v2/cmd/$program@$pebble" >"$place/pebble.log" 2>&1 ||
      { cat "$place/pebble.log" >&2; return 1; }
  done
  echo "$pebble" >"$place/pebble.stamp"
}

node scripts/setup.mjs
choose "$@"
need_debian
export WAXWING_INTEROP_WITHOUT=
without() { WAXWING_INTEROP_WITHOUT+=" $1"; }
if has_clients; then
  need_npm || { missing 'what npm has' 'the clients in JavaScript'; without javascript; }
  need_python || { missing 'what PyPI has' 'slixmpp'; without slixmpp; }
  need_slidge || { missing slidge 'slidge'; without slidge; }
  { command -v profanity && command -v tmux; } >/dev/null || { missing 'profanity or tmux' 'Profanity'; without profanity; }
  command -v go-sendxmpp >/dev/null || { missing go-sendxmpp 'go-sendxmpp'; without go-sendxmpp; }
  command -v biboumi >/dev/null || { missing biboumi 'biboumi'; without biboumi; }
  { command -v turnserver && command -v turnutils_uclient; } >/dev/null || missing coturn 'coturn'
  { command -v haproxy && command -v nginx; } >/dev/null || missing 'haproxy or nginx' 'proxies'
  need_pebble || missing 'Go, or Pebble in Go,' 'certificates by ACME'
  export PATH=$place/bin:$PATH
  # The clients verify the certificate; Node reads additional trusted certificates at startup.
  node dist/test/interop/certificate.js "$place"
  export NODE_EXTRA_CA_CERTS=$place/localhost.crt
fi
if has_servers && [ -z "${WAXWING_INTEROP_ENTER:-}" ]; then
  command -v prosody >/dev/null || { missing prosody 'Prosody'; without prosody; }
  command -v ejabberdctl >/dev/null || { missing ejabberd 'ejabberd'; without ejabberd; }
fi

# Third-party programs leave timers running.
# The time of a file: on a busy machine it is some minutes.
exec node --test --test-timeout=600000 --test-force-exit "${files[@]}"
