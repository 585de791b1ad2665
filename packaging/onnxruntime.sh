#!/bin/bash
# Puts the official ONNX Runtime library (from npm's onnxruntime-node) into the folder $1 as libonnxruntime.so.1.
# Quick when it is there already. Uses the npm on PATH, else installs Debian's.
set -euo pipefail
version=1.24.3

stop() {
  echo "onnxruntime: $1" >&2
  exit 1
}

[ $# = 1 ] || stop "usage: packaging/onnxruntime.sh FOLDER"
here=$(dirname "$(readlink -f "$0")")
mkdir -p "$1"
target=$(readlink -f "$1")
[ "$(cat "$target/onnxruntime.version" 2>/dev/null)" != "$version" ] || [ ! -s "$target/libonnxruntime.so.1" ] || exit 0

case "$(uname -m)" in
  x86_64) arch=x64 ;;
  aarch64) arch=arm64 ;;
  *) stop "onnxruntime-node has no library for $(uname -m); models in the ONNX format cannot be served here" ;;
esac
command -v npm >/dev/null || "$here/packages.sh" install npm

work=$(mktemp -d "${TMPDIR:-/tmp}/lathe-onnxruntime.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
npm pack --silent --ignore-scripts "onnxruntime-node@$version" >npm.log 2>&1 || {
  tail -n 5 npm.log >&2
  stop "npm could not fetch onnxruntime-node $version; is this machine connected to an npm registry?"
}
tar -xzf onnxruntime-node-*.tgz --wildcards "package/bin/napi-v*/linux/$arch/libonnxruntime.so.1"
mv package/bin/napi-v*/linux/"$arch"/libonnxruntime.so.1 "$target/libonnxruntime.so.1.new"
mv "$target/libonnxruntime.so.1.new" "$target/libonnxruntime.so.1"
echo "$version" >"$target/onnxruntime.version"
