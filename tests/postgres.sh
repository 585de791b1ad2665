#!/bin/bash
# A private PostgreSQL server for tests, on a Unix socket in a folder of its own.
#
#   tests/postgres.sh with COMMAND...   runs COMMAND with LATHE_TEST_POSTGRES, the URL of a server that lives as long
#   tests/postgres.sh up FOLDER         makes and starts one in FOLDER, which must not exist, and prints its URL
#   tests/postgres.sh start FOLDER      starts it again
#   tests/postgres.sh down FOLDER       ends it and removes FOLDER
#
# It does not sync to the disk: it survives kills, not a crash of the machine. Its own collation is not "C", so that a
# text column that forgets to ask for it is found out. Root starts it as the user postgres, as PostgreSQL demands.
set -euo pipefail

bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)

stop() {
  echo "postgres.sh: $1" >&2
  exit 1
}

as_owner() {
  if [ "$(id -u)" = 0 ]; then
    setpriv --reuid=postgres --regid=postgres --clear-groups env -C / "$@"
  else
    "$@"
  fi
}

start() {
  as_owner "$bin/pg_ctl" -D "$1" -s -w -t 60 -l "$1/log" -o "-k $1" start || stop "the server does not start: $(tail -n 3 "$1/log")"
}

up() {
  [ -n "$bin" ] || stop "there is no PostgreSQL here: packaging/packages.sh install test"
  [ ! -e "$1" ] || stop "$1 is there already"
  mkdir -m 700 "$1"
  [ "$(id -u)" != 0 ] || chown postgres: "$1"
  as_owner "$bin/initdb" -D "$1" -U lathe -A trust -E UTF8 --locale=C.UTF-8 --locale-provider=icu --icu-locale=en \
    --no-sync --no-instructions >/dev/null
  cat >>"$1/postgresql.conf" <<'CONF'
listen_addresses = ''
max_connections = 200
fsync = off
full_page_writes = off
shared_buffers = 32MB
autovacuum_naptime = 5s
CONF
  start "$1"
  echo "postgresql:///postgres?host=$1&user=lathe"
}

down() {
  [ -e "$1/PG_VERSION" ] || stop "$1 holds no PostgreSQL server"
  as_owner "$bin/pg_ctl" -D "$1" -s -m immediate stop 2>/dev/null || true
  rm -rf "$1"
}

case "${1:-}" in
  with)
    shift
    [ -z "${LATHE_TEST_POSTGRES:-}" ] || exec "$@"
    folder=$(mktemp -d -u "${TMPDIR:-/tmp}/lathe-postgres.XXXXXX")
    trap 'down "$folder"' EXIT
    LATHE_TEST_POSTGRES=$(up "$folder")
    export LATHE_TEST_POSTGRES
    "$@"
    ;;
  up | start | down) "$1" "$2" ;;
  *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac
