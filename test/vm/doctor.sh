#!/usr/bin/env bash
# `sluice doctor` in the guest: see doctor-guest.sh. Ends with the line `N passed, N failed, N skipped`; without QEMU, or
# without a guest, with one skip and the reason.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
# shellcheck source=test/vm/pack.sh
. "$root/test/vm/pack.sh"

echo 'exec bash test/vm/doctor-guest.sh' >"$payload/run.sh"
bash "$root/test/vm/boot.sh" "$images" "$payload"
status=$?
[ $status -ne 126 ] || skip 'QEMU cannot begin: see above'
[ $status -ne 125 ] || printf '\n0 passed, 1 failed, 0 skipped\n'
exit $status
