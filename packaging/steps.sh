# For ./quickstart and ./test (sourced by bash): runs commands as named steps, each with how long it took.
#
#   step TITLE COMMAND...   runs COMMAND with its output in $steps_log and shows how far it is; when it fails, ends the
#                           program with one sentence that names the step and the log.
#   say TEXT                prints a plain line
#   stop TEXT               prints one sentence on stderr and ends the program with 1

say() { printf '%s\n' "$1"; }

stop() {
  steps_clear
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  exit 1
}

steps_since() {  # seconds since $1 (an $EPOCHREALTIME), with one decimal
  local tenths=$(((${EPOCHREALTIME/[.,]/} - ${1/[.,]/}) / 100000))
  printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

steps_clear() { [ ! -t 1 ] || printf '\r\033[K'; }

# The newest thing that the running step said: ninja's [12/345], or what apt or npm does.
steps_latest() {
  tail -c 400 "$steps_log" 2>/dev/null | tr '\r' '\n' | grep -v '^ *$' | tail -n 1 | cut -c 1-90
}

# On a terminal one line that is rewritten; elsewhere a line each quarter of a minute, so that a log stays readable.
steps_progress() {
  local title=$1 started=$2 last_said=0
  while :; do
    sleep 0.25
    if [ -t 1 ]; then
      printf '\r\033[K[%5s s] %s  %s' "$(steps_since "$started")" "$title" "$(steps_latest)"
    elif [ $((SECONDS / 15)) -gt "$last_said" ]; then
      last_said=$((SECONDS / 15))
      printf '[%5s s] %s ... %s\n' "$(steps_since "$started")" "$title" "$(steps_latest)"
    fi
  done
}

step() {
  local title=$1 started=$EPOCHREALTIME status=0 progress
  shift
  SECONDS=0
  printf '\n== %s: %s\n' "$title" "$*" >>"$steps_log"
  steps_progress "$title" "$started" &
  progress=$!
  "$@" >>"$steps_log" 2>&1 </dev/null || status=$?
  kill "$progress" 2>/dev/null
  wait "$progress" 2>/dev/null || true
  steps_clear
  if [ "$status" != 0 ]; then
    stop "\"$title\" failed: $(steps_cause); the details are in $steps_log"
  fi
  printf '[%5s s] %s\n' "$(steps_since "$started")" "$title"
}

# The line of the log that best says why the last step failed: a compiler's or tool's error, else the last line.
steps_cause() {
  local text
  text=$(tac "$steps_log" | sed '/^== /q' | tac)
  { grep -m 1 -E '(error|Error|ERROR|E):|^(packages|onnxruntime|boost-headers|lathe): ' <<<"$text" ||
    grep -v '^ *$' <<<"$text" | tail -n 1; } | cut -c 1-400
}
