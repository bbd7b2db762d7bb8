#!/usr/bin/env bash
# `sluice doctor` in the guest: see doctor-guest.sh. Ends with the line `N passed, N failed, N skipped`; without QEMU, or
# without a guest, with one skip and the reason.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
# shellcheck source=test/vm/pack.sh
. "$root/test/vm/pack.sh"

echo 'exec bash test/vm/doctor-guest.sh' >"$payload/run.sh"
guest "$payload"
