#!/bin/bash
# Runs inside, as root, in a clone of the project. Leaves its counts in /test/result.
set -uo pipefail
# shellcheck source=/dev/null
. /test/env

# What npm test may take once everything is installed, seconds.
LIMIT=360
# Percent of the processors that others may use meanwhile for that time to mean anything.
OTHERS=15

# shellcheck source=test/tally.sh
. test/tally.sh
kept /test/result

# Processor time so far, in hundredths of a second: of everything inside in user and in system mode, of the whole machine,
# and what the machine could have given.
clock() {
  awk '$1 == "user_usec" { user = $2 / 10000 } $1 == "system_usec" { system_ = $2 / 10000 }
    $1 == "cpu" { for (i = 2; i <= 9; i++) all += $i; idle = $5 + $6 }
    END { printf "%d %d %d %d\n", user, system_, all - idle, all }' /sys/fs/cgroup/cpu.stat /proc/stat
}

# measure NAME COMMAND…: runs it, says what it took, and leaves its output in /test/NAME. Sets status, the seconds
# without installs, and the percentage of the processors that others used.
measure() {
  local name=$1 from before now installs
  shift
  printf '\n== %s\n' "$*"
  from=$(date +%s)
  read -ra before < <(clock)
  "$@" </dev/null 2>&1 | tee "/test/$name"
  status=${PIPESTATUS[0]}
  seconds=$(($(date +%s) - from))
  read -ra now < <(clock)
  local user=$((now[0] - before[0])) system=$((now[1] - before[1]))
  others=$((100 * (now[2] - before[2] - user - system) / (now[3] - before[3])))
  installs=$(sed -nE 's/^setup: ready after ([0-9]+) s$/\1/p' "/test/$name")
  installs=${installs:-0}
  seconds=$((seconds - installs))
  printf '\n%s: exit status %d, %d s after %d s of installs\n' "$*" "$status" "$seconds" "$installs"
  printf 'processor time of both: user %d s, system %d s; others used %d %% of the machine\n' \
    $((user / 100)) $((system / 100)) "$others"
}

bare() {
  local tool
  # Python does not count: Debian's npm depends on it.
  for tool in gcc cc clang make bpftool psql strace; do
    if command -v "$tool"; then return 1; fi
  done
  node --version | grep '^v18\.'
}
check 'the machine has Node 18 and nothing to build with' bare

measure demo npm run demo
check 'npm run demo exits with 0' test "$status" -eq 0
steps=$(grep -c 'page\.step(' demo/story.ts)
check "npm run demo shows its $steps steps" test "$(grep -cE '^[0-9]+\. ' /test/demo)" -eq "$steps"

measure tests npm test
check 'npm test exits with 0' test "$status" -eq 0
check 'npm test has no failure' grep -qE '^[1-9][0-9]* passed, 0 failed, [0-9]+ skipped$' /test/tests
in_time="npm test takes less than $LIMIT s after its installs"
if [ "$seconds" -ge "$LIMIT" ] && [ "$others" -gt "$OTHERS" ]; then
  skipped "$in_time" "it took $seconds s, but others used $others % of the machine"
else
  check "$in_time" test "$seconds" -lt "$LIMIT"
fi

left() { ps -eo user:20,pid,args | awk '$1 ~ /^(sluice|sluice-agent|postgres)$/ { print; found = 1 } END { exit found }'; }
check 'nothing is left running' left
touch /test/complete
