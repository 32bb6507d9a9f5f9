#!/usr/bin/env bash
# Installs what tests with real servers and browsers use, when it is missing: Debian packages, where this user may, and
# Node-Media-Server into .node. Where it cannot, it says what is missing; the tests that need it then skip, or fail where CI=true.
set -euo pipefail
cd "$(dirname "$0")/.."

# Exactly what the lock file names, checked by its digests, and without running any package's own scripts.
install_node_media_server() {
  local wanted=deploy/node-media-server
  cmp -s "$wanted/package-lock.json" .node/installed.json && return
  if ! command -v npm >/dev/null; then
    echo "Missing for some tests: npm, with which Node-Media-Server is installed" >&2
    return
  fi
  echo "Installing Node-Media-Server into .node …"
  mkdir -p .node
  cp "$wanted/package.json" "$wanted/package-lock.json" .node/
  if (cd .node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null); then
    cp .node/package-lock.json .node/installed.json
  else
    echo "Missing for some tests: Node-Media-Server, which npm could not install" >&2
  fi
}
trap install_node_media_server EXIT

missing=()
command -v nginx >/dev/null || missing+=(nginx)
[ -e /usr/lib/nginx/modules/ngx_rtmp_module.so ] || missing+=(libnginx-mod-rtmp)
command -v ffmpeg >/dev/null || missing+=(ffmpeg)
command -v chromium >/dev/null || missing+=(chromium)
command -v chromedriver >/dev/null || missing+=(chromium-driver)
command -v promtool >/dev/null || missing+=(prometheus)
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
  trap '"${as_root[@]}" rm -f "$policy"; install_node_media_server' EXIT
fi
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
