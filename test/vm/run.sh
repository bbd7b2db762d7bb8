#!/usr/bin/env bash
# run.sh [NAME...]: the tests of native/ that concern enforcement (or those named) in a guest of Debian 12 with its own
# kernel, 6.1, whose BPF LSM programs load and whose cgroups have no hooks for UNIX sockets. Ends with the line
# `N passed, N failed, N skipped`; without QEMU, or without a guest, with one skip and the reason. Another kernel: pack.sh.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
# shellcheck source=test/vm/pack.sh
. "$root/test/vm/pack.sh"

[ $# -gt 0 ] || set -- ways loopback lifetime native/bypass native/unix native/full native/hosts native/tamper native/refusals native/attempts native/calls native/launch
printf 'exec bash test/vm/guest.sh %s\n' "$*" >"$payload/run.sh"
guest "$payload"
