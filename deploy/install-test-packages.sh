#!/usr/bin/env bash
# Installs what tests with real servers and browsers use, when it is missing: Debian packages, where this user may, and
# Node-Media-Server and a verifier of webhooks into .node. Where it cannot, it says what is missing; the tests that need it then skip, or fail where CI=true.
set -euo pipefail
cd "$(dirname "$0")/.."

# Exactly what a lock file names, checked by its digests, and without running any package's own scripts.
install_from_npm() {
  local wanted=$1 place=$2 what=$3
  cmp -s "$wanted/package-lock.json" "$place/installed.json" && return
  if ! command -v npm >/dev/null; then
    echo "Missing for some tests: npm, with which $what is installed" >&2
    return
  fi
  echo "Installing $what into $place …"
  mkdir -p "$place"
  cp "$wanted/package.json" "$wanted/package-lock.json" "$place/"
  if (cd "$place" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null); then
    cp "$place/package-lock.json" "$place/installed.json"
  else
    echo "Missing for some tests: $what, which npm could not install" >&2
  fi
}
install_all_from_npm() {
  install_from_npm deploy/node-media-server .node Node-Media-Server
  install_from_npm deploy/standard-webhooks .node/standard-webhooks "the verifier of Standard Webhooks"
}
trap install_all_from_npm EXIT

missing=()
command -v nginx >/dev/null || missing+=(nginx)
[ -e /usr/lib/nginx/modules/ngx_rtmp_module.so ] || missing+=(libnginx-mod-rtmp)
command -v ffmpeg >/dev/null || missing+=(ffmpeg)
command -v chromium >/dev/null || missing+=(chromium)
command -v chromedriver >/dev/null || missing+=(chromium-driver)
command -v promtool >/dev/null || missing+=(prometheus)
command -v prometheus-alertmanager >/dev/null || missing+=(prometheus-alertmanager)
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "Missing for some tests, and this is no Debian or Ubuntu: ${missing[*]}" >&2
  exit 0
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if sudo -n true 2>/dev/null; then
    as_root=(sudo)
  else
    echo "Missing for some tests: ${missing[*]}" >&2
    echo "Install them with: sudo apt-get install ${missing[*]}" >&2
    exit 0
  fi
fi

echo "Installing ${missing[*]} …"
# The servers are started by the tests, on free ports of their own: keep the packages from starting services.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod +x "$policy"
  trap '"${as_root[@]}" rm -f "$policy"; install_all_from_npm' EXIT
fi
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
