#!/bin/bash
# Debian 12 packages by what they are needed for.
#
#   packaging/packages.sh list GROUP...      the packages of these groups, one a line
#   packaging/packages.sh install GROUP...   installs those that are missing; quick and silent when none is
#   packaging/packages.sh update             fetches the package lists
#
# Groups: build, run (what jobs and models need), test, bench, npm.
set -euo pipefail

declare -A packages=(
  [build]="g++ cmake ninja-build ccache
    libssl-dev libsqlite3-dev libpq-dev libcurl4-openssl-dev libfmt-dev libspdlog-dev libyaml-cpp-dev libcli11-dev
    libexpected-dev libsimdjson-dev libpugixml-dev libmbedtls-dev libprotobuf-dev protobuf-compiler libnghttp2-dev musl-dev
    zlib1g-dev libxgboost-dev libarchive-dev libzstd-dev
    libgtest-dev"
  [run]="tzdata python3 python3-venv bubblewrap python3-numpy python3-sklearn python3-xgboost python3-cloudpickle ca-certificates curl"
  [test]="python3-pytest python3-pytest-timeout python3-requests python3-yaml python3-swift git openssl
    python3-grpcio python3-protobuf python3-pandas python3-torch python3-onnx postgresql zstd openmpi-bin python3-mpi4py
    slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge iproute2 util-linux procps
    podman crun busybox-static"
  [bench]="libbenchmark-dev wrk"
  [npm]="npm"
)

stop() {
  echo "packages: $1" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  else
    sudo -n "$@" || sudo "$@"
  fi
}

names_of() {
  local group
  for group in "$@"; do
    [ -n "${packages[$group]:-}" ] || stop "there is no group \"$group\"; the groups are: ${!packages[*]}"
    printf '%s\n' ${packages[$group]}
  done
}

missing_of() {
  local names installed
  names=$(names_of "$@") || exit 1
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $names 2>/dev/null | sed -n 's/^installed //p')
  comm -23 <(sort -u <<<"$names") <(sort -u <<<"$installed")
}

install() {
  command -v apt-get >/dev/null || stop "this needs Debian 12 with apt-get; install by hand what 'list' prints"
  local missing
  missing=$(missing_of "$@") || exit 1
  [ -n "$missing" ] || return 0
  missing=$(paste -sd ' ' <<<"$missing")
  if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
    stop "these packages are missing and only root can install them: run 'apt-get install $missing' as root"
  fi
  echo "installing $missing"
  export DEBIAN_FRONTEND=noninteractive
  case " $missing " in
    # Else Debian makes and starts a server of the whole machine, on port 5432; the tests start private ones.
    *" postgresql "*) as_root sh -c 'cd /etc && mkdir -p postgresql-common && [ -e postgresql-common/createcluster.conf ] ||
      echo "create_main_cluster = false" >postgresql-common/createcluster.conf' ;;
  esac
  as_root apt-get update -q || stop "apt-get update failed; is this machine connected to a Debian mirror?"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -q -y --no-install-recommends \
    $missing ||
    stop "apt-get could not install: $missing"
}

case "${1:-}" in
  list) shift && names_of "$@" ;;
  install) shift && install "$@" ;;
  update) as_root apt-get update -q ;;
  *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac
