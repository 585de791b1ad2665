#!/bin/sh
# Unpacks the headers of Debian's libboost1.81-dev into the folder $1 (as $1/boost/...), without installing the package.
set -eu
here=$(dirname "$(readlink -f "$0")")
target=$(realpath -m "$1")
[ -e "$target/boost/version.hpp" ] && exit 0
work=$(mktemp -d "${TMPDIR:-/tmp}/lathe-boost.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
download() { apt-get download -q libboost1.81-dev >download.log 2>&1; }
# A machine whose package lists were never fetched, or were cleaned away, does not know the package yet.
download || { "$here/packages.sh" update >update.log 2>&1 && download; } || {
  echo "boost-headers: cannot download the Debian package libboost1.81-dev: $(grep -h -m 1 '^E: ' download.log)" >&2
  exit 1
}
dpkg -x libboost1.81-dev_*.deb unpacked
mkdir -p "$(dirname "$target")"
rm -rf "$target.new"
mkdir "$target.new"
mv unpacked/usr/include/boost "$target.new/boost"
rm -rf "$target"
mv "$target.new" "$target"
