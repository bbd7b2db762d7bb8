#!/usr/bin/env bash
# run.sh [bookworm|trixie]: a package of sluice in a booted Debian, from install to purge: see README.md. Ends with the line
# `N passed, N failed, N skipped`; exits non-zero when anything failed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
suite=${1:-bookworm}
top=$(cd "$here/../.." && pwd -P)
# shellcheck source=test/machine.sh
. "$top/test/machine.sh"
machine installed "an installed sluice, $suite" 75% "$suite"
# shellcheck source=test/installed/things.sh
. "$here/things.sh"

packages "$work/packages"
printf '== a Debian, %s, with PostgreSQL\n' "$suite"
debian "$suite" "systemd-sysv,postgresql,python3-minimal,libpython3-stdlib,iproute2,procps,$(dependencies "$work/packages/new.deb")"
starts
things "$root/test" "$work/packages"
prepare "$root"

tail -n +1 --sleep-interval=0.2 --follow --pid=$$ "$root/test/said" &
for boot in first second; do
  printf '\n== booted, %s time\n' "$boot"
  # 133: it wants to be booted again.
  ours timeout 300 "${nspawn[@]}" --boot --private-network </dev/null >>"$work/console" 2>&1 &
  status=0
  wait $! || status=$?
  [ "$status" -eq 133 ] || break
done
sleep 0.5 # tail's interval
read -r passed failed <"$root/test/result" 2>/dev/null || passed=0 failed=0
if [ ! -e "$root/test/complete" ]; then
  tail -n 50 "$work/console"
  printf 'FAILED: it did not come to its end (status %d)\n' "$status"
  failed=$((failed + 1))
fi
result
