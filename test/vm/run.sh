#!/usr/bin/env bash
# run.sh [NAME...]: the tests of native/ that concern enforcement (or those named) in a guest of Debian 12 with its own
# kernel, 6.1, whose BPF LSM programs load and whose cgroups have no hooks for UNIX sockets. Ends with the line
# `N passed, N failed, N skipped`; without QEMU, or without a guest, with one skip and the reason.
#
# SLUICE_VM names where the guest is kept between runs (default /var/tmp/sluice-vm).
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
images=${SLUICE_VM:-/var/tmp/sluice-vm}

skip() {
  printf 'skipped: %s\n\n0 passed, 0 failed, 1 skipped\n' "$1"
  exit 0
}
[ "$(uname -m)" = x86_64 ] || skip "the guest is one of x86_64; this is $(uname -m)"
for tool in qemu-system-x86_64 qemu-img mmdebstrap mkfs.ext4 depmod python3; do
  command -v "$tool" >/dev/null || skip "there is no $tool (setup/packages, profile vm)"
done
if [ ! -s "$images/root.img" ] || [ "$root/test/vm/image.sh" -nt "$images/root.img" ]; then
  echo "making the guest in $images"
  bash "$root/test/vm/image.sh" "$images" || skip 'the guest could not be made: see above'
fi

payload=$(mktemp -d)
chmod 755 "$payload" # other accounts read it in the guest
trap 'rm -rf "$payload"' EXIT
mkdir -p "$payload/node_modules/node/bin" "$payload/build"
cp "$root/package.json" "$payload/"
ln -s "$(readlink -f "$root/node_modules/node/bin/node")" "$payload/node_modules/node/bin/node"
for module in koffi @koromix; do
  [ -e "$root/node_modules/$module" ] && ln -s "$root/node_modules/$module" "$payload/node_modules/$module"
done
ln -s "$root/daemon" "$payload/daemon"
ln -s "$root/test" "$payload/test"
mkdir "$payload/build/native"
for built in sluice-helper sluice-launch libsluice.so; do ln -s "$root/build/native/$built" "$payload/build/native/"; done
[ $# -gt 0 ] || set -- ways loopback lifetime native/bypass
printf 'exec bash test/vm/guest.sh %s\n' "$*" >"$payload/run.sh"
bash "$root/test/vm/boot.sh" "$images" "$payload"
status=$?
[ $status -ne 125 ] || printf '\n0 passed, 1 failed, 0 skipped\n'
exit $status
