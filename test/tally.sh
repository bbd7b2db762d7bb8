# shellcheck shell=bash
# Counts what a suite in the shell tries: sourced by the suites, and put into the machines for those that run there.
#
#   check NAME COMMAND…     counts whether COMMAND succeeds, and says so; where it fails, `look` shows more, if there is one
#   skipped NAME REASON     counts one that can't be tried here
#   failure NAME            counts one that has failed
#   kept FILE               goes on from the counts in FILE, if there are any, and leaves them there from now on: for what runs
#                           in a machine, over its boots
#   came_of DIR             takes over what was kept in DIR/result; one failure more where there is no DIR/complete
#   result                  the last line; fails when anything failed
#   skip REASON             the whole suite can't be run here (`what` is its name, if it has one): one skip, and the end

passed=0 failed=0 skipped=0
counts=

tell() { [ -z "$counts" ] || printf '%d %d %d\n' "$passed" "$failed" "$skipped" >"$counts"; }

check() {
  local name=$1
  shift
  if "$@"; then
    passed=$((passed + 1))
    printf 'ok: %s\n' "$name"
    tell
  else
    failure "$name"
    if declare -F look >/dev/null; then look; fi
  fi
}

failure() {
  failed=$((failed + 1))
  printf 'FAILED: %s\n' "$1"
  tell
}

skipped() {
  skipped=$((skipped + 1))
  printf 'skipped: %s: %s\n' "$1" "$2"
  tell
}

kept() {
  counts=$1
  [ ! -e "$counts" ] || read -r passed failed skipped <"$counts"
}

came_of() {
  [ ! -e "$1/result" ] || read -r passed failed skipped <"$1/result"
  [ -e "$1/complete" ] || failure 'it came to its end'
}

result() {
  printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
  [ "$failed" -eq 0 ]
}

skip() {
  printf 'skipped: %s%s\n\n0 passed, 0 failed, 1 skipped\n' "${what:+$what: }" "$1"
  exit 0
}
