#!/bin/bash
# Puts the JavaScript clients that the tests ask with (tests/node) into the folder $1/node_modules. Quick when they are there
# already. Uses the npm on PATH, else installs Debian's.
set -euo pipefail

stop() {
  echo "node_clients: $1" >&2
  exit 1
}

[ $# = 1 ] || stop "usage: packaging/node_clients.sh FOLDER"
here=$(dirname "$(readlink -f "$0")")
mkdir -p "$1"
cmp -s "$here/../tests/node/package-lock.json" "$1/installed.json" && [ -d "$1/node_modules/@grpc/grpc-js" ] && exit 0
command -v npm >/dev/null || "$here/packages.sh" install npm
cp "$here/../tests/node/package.json" "$here/../tests/node/package-lock.json" "$1"
cd "$1"
npm ci --silent --ignore-scripts --no-audit --no-fund >npm.log 2>&1 || {
  tail -n 5 npm.log >&2
  stop "npm could not install the clients; is this machine connected to an npm registry?"
}
cp package-lock.json installed.json
