#!/bin/bash
# Runs inside, as root, in a clone of the project. Leaves `PASSED FAILED` in /fresh/result.
set -uo pipefail
. /fresh/env

# What npm test may take once everything is installed, seconds.
LIMIT=360

passed=0 failed=0
check() { # check NAME COMMAND…
  local name=$1
  shift
  if "$@"; then
    passed=$((passed + 1))
    printf 'ok: %s\n' "$name"
  else
    failed=$((failed + 1))
    printf 'FAILED: %s\n' "$name"
  fi
}

cpu() { awk '$1 == "usage_usec" { print int($2 / 1000000) }' /sys/fs/cgroup/cpu.stat; }

# measure NAME COMMAND…: runs it, says what it took, and leaves its output in /fresh/NAME, its status in $status.
measure() {
  local name=$1 from cpu_from
  shift
  printf '\n== %s\n' "$*"
  from=$(date +%s) cpu_from=$(cpu)
  "$@" </dev/null 2>&1 | tee "/fresh/$name"
  status=${PIPESTATUS[0]}
  took=$(($(date +%s) - from)) used=$(($(cpu) - cpu_from))
  installs=$(sed -nE 's/^setup: ready after ([0-9]+) s$/\1/p' "/fresh/$name")
  installs=${installs:-0}
  printf '\n%s: exit status %d; %d s, of which installs %d s and the rest %d s; processor time %d s\n' \
    "$*" "$status" "$took" "$installs" "$((took - installs))" "$used"
}

bare() {
  local tool
  for tool in gcc cc clang make bpftool psql python3 strace; do
    if command -v "$tool"; then return 1; fi
  done
  node --version | grep '^v18\.'
}
check 'the machine has Node 18 and nothing to build with' bare

measure demo npm run demo
check 'npm run demo exits with 0' test "$status" -eq 0
steps=$(grep -c 'page\.step(' demo/story.ts)
check "npm run demo shows its $steps steps" test "$(grep -cE '^[0-9]+\. ' /fresh/demo)" -eq "$steps"

measure tests npm test
check 'npm test exits with 0' test "$status" -eq 0
check 'npm test has no failure' grep -qE '^[1-9][0-9]* passed, 0 failed, [0-9]+ skipped$' /fresh/tests
check "npm test takes less than $LIMIT s after its installs" test "$((took - installs))" -lt "$LIMIT"

left() { ps -eo user:20,pid,args | awk '$1 ~ /^(sluice|sluice-agent|postgres)$/ { print; found = 1 } END { exit found }'; }
check 'nothing is left running' left

printf '%d %d\n' "$passed" "$failed" >/fresh/result
