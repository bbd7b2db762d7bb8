#!/usr/bin/env bash
# The units as Debian 12's systemd and Debian 13's read them: nothing is said of any of them, and the daemon's sandbox holds.
# Ends with the line `N passed, N failed, N skipped`; exits non-zero when anything failed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
top=$(cd "$here/../.." && pwd -P)
# shellcheck source=test/machine.sh
. "$top/test/machine.sh"
machine units 'the units, read by systemd' 50%

# The status is 0 also where a setting is not known: whatever is printed is a failure.
silent() {
  local said
  said=$("$@" 2>&1) && [ -z "$said" ] || { printf '%s\n' "$said"; false; }
}
exposed() { "$@" | tail -n 1 && [ "${PIPESTATUS[0]}" -eq 0 ]; }
names=(sluice-helper.service sluiced.service sluice-agent@claude.service sluice-agents.slice)

for release in bookworm trixie; do
  root=$work/$release
  printf '== %s\n' "$release"
  debian "$release" systemd
  installed
  mount --bind "$top/node_modules/node/bin/node" "$root/usr/lib/sluice/bin/node"
  version=$(chroot "$root" systemd-analyze --version | awk 'NR == 1 { print $2 }')
  check "systemd $version has nothing to say of them" silent chroot "$root" systemd-analyze verify --man=no "${names[@]}"
  check "systemd $version: sluiced is exposed by no more than 2.0" exposed chroot "$root" \
    systemd-analyze security --no-pager --offline=true --threshold=20 sluiced.service
  check "systemd $version makes the accounts" test "$(grep -cE '^sluice(-agent(-[0-9]+)?)?:' "$root/etc/passwd")" -eq 66
  check "systemd $version: with the uids of the helper's pool" grep -q '^sluice-agent-63:x:70063:70063:' "$root/etc/passwd"
done
result
