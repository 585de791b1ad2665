#!/bin/sh
# Unpacks the headers of Debian's libboost1.81-dev into the folder $1 (as $1/boost/...), without installing the package.
set -eu
target=$1
[ -e "$target/boost/version.hpp" ] && exit 0
work=$(mktemp -d "${TMPDIR:-/tmp}/lathe-boost.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
if ! apt-get download -q libboost1.81-dev >download.log 2>&1; then
  echo "boost-headers: cannot download the Debian package libboost1.81-dev; run 'apt-get update' and try again. apt said:" >&2
  tail -n 3 download.log >&2
  exit 1
fi
dpkg -x libboost1.81-dev_*.deb unpacked
mkdir -p "$(dirname "$target")"
rm -rf "$target.new"
mkdir "$target.new"
mv unpacked/usr/include/boost "$target.new/boost"
rm -rf "$target"
mv "$target.new" "$target"
