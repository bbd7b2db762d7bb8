#!/usr/bin/env bash
# vm.sh: what run.sh does, in a guest of Debian 12 with its kernel 6.1; with SLUICE_VM_KERNEL=linux-image-6.12-cloud-amd64 in one
# of Debian 13. Ends with the line `N passed, N failed, N skipped`; without QEMU, or without a guest, with one skip and the reason.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
top=$root
# shellcheck source=test/installed/things.sh
. "$root/test/installed/things.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
packages "$work/packages" || { printf 'FAILED: no package could be built\n\n0 passed, 1 failed, 0 skipped\n'; exit 1; }

kind=installed
[ -z "${SLUICE_VM_KERNEL:-}" ] || suite=trixie
packages=apt,postgresql,$(dependencies "$work/packages/new.deb")
# shellcheck source=test/vm/host.sh
. "$root/test/vm/host.sh"
things "$work/payload/test" "$work/packages"
cp "$root/test/installed/guest.sh" "$work/payload/run.sh"
guest "$work/payload"
