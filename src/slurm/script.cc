#include "slurm/script.h"

#include <fmt/format.h>

#include "base/text.h"

namespace lathe::slurm {
namespace {

// Runs on every node. The digest says that what came is what the server sent, so that no certificate has to.
constexpr std::string_view kStart = R"(
set -u
umask 077
base=${LATHE_SCRATCH:-${SLURM_TMPDIR:-${TMPDIR:-/tmp}}}/lathe-$UID
mkdir -p "$base" 2>/dev/null
if [ ! -d "$base" ] || [ ! -O "$base" ]; then
  echo "lathe: $base cannot be made, or belongs to somebody else" >&2
  exit 72
fi
is_right() { [ -s "$1" ] && echo "$LATHE_PROGRAM_SHA256  $1" | sha256sum --check --status - 2>/dev/null; }
plain_get() {
  local rest=${1#http://} line
  local authority=${rest%%/*}
  exec 3<>"/dev/tcp/${authority%:*}/${authority##*:}" || return 1
  printf 'GET /%s HTTP/1.0\r\nHost: %s\r\n\r\n' "${rest#*/}" "$authority" >&3
  while IFS= read -r line <&3 && [ "$line" != $'\r' ]; do :; done
  cat <&3
  exec 3<&-
}
get() {
  if command -v curl >/dev/null; then curl -sfk --retry 5 --connect-timeout 20 "$1"
  elif command -v wget >/dev/null; then wget -q --no-check-certificate -O - "$1"
  elif command -v python3 >/dev/null; then
    python3 -c 'import shutil,ssl,sys,urllib.request as r
shutil.copyfileobj(r.urlopen(sys.argv[1], context=ssl._create_unverified_context()), sys.stdout.buffer)' "$1"
  elif [[ $1 == http://* ]]; then plain_get "$1"
  else echo "lathe: this node has no curl, wget or python3 to fetch $1 with" >&2
  fi
}
program=$base/lathe-remote-$LATHE_PROGRAM_SHA256
for tries in 1 2 3 4 5 6; do
  is_right "$program" && break
  get "$LATHE_PROGRAM_URL" >"$program.$$"
  if is_right "$program.$$"; then chmod 700 "$program.$$" && mv -f "$program.$$" "$program"
  else rm -f "$program.$$"; sleep $((tries * 2))
  fi
done
is_right "$program" || { echo "lathe: $LATHE_PROGRAM_URL could not be fetched" >&2; exit 71; }
export LATHE_ATTEMPT_BASE=$base
exec "$program"
)";

}  // namespace

std::string batch_script(const ScriptParts& parts) {
  std::string out = "#!/bin/bash\n";
  const auto set = [&](std::string_view name, const std::string& value) {
    out += fmt::format("export {}={}\n", name, shell_word(value));
  };
  set("LATHE_ATTEMPT_URL", parts.attempt_url);
  set("LATHE_ATTEMPT_TOKEN", parts.token);
  set("LATHE_ATTEMPT_PIN", parts.pin);
  set("LATHE_PROGRAM_URL", parts.program_url);
  set("LATHE_PROGRAM_SHA256", parts.program_sha256);
  set("LATHE_SCRATCH", parts.scratch);
  set("LATHE_START", std::string(kStart));
  // Of several nodes each gets one task of a step, whose end is the end of all of them; the job's own steps share with
  // it.
  out += R"(nodes=${SLURM_JOB_NUM_NODES:-1}
if [ "$nodes" -gt 1 ]; then
  exec srun --overlap --export=ALL --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 --kill-on-bad-exit=0 --wait=0 \
    --mpi=none bash -c "$LATHE_START"
fi
exec bash -c "$LATHE_START"
)";
  return out;
}

}  // namespace lathe::slurm
