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

lives 300 --private-network
result
