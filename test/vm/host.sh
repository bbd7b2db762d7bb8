# Sourced, with `root` set to the checkout: sees to the guest, in the folder `images`. Where there can be none it says so and
# ends with one skip.
#
# SLUICE_VM names where guests are kept between runs (default /var/tmp/sluice-vm), SLUICE_VM_KERNEL the package of another
# kernel: linux-image-6.12-cloud-amd64 has hooks for UNIX sockets, too. Before it is sourced, `suite` may name another Debian
# than bookworm, and `packages` (with commas between) what that has besides; `kind` is then the name of that kind of guest.
#
#   guest PAYLOAD   boots it with the folder PAYLOAD (boot.sh), and ends with the status of what ran there
# shellcheck shell=bash
# shellcheck source=test/tally.sh
. "$root/test/tally.sh"
kernel=${SLUICE_VM_KERNEL:-linux-image-cloud-amd64}
images=${SLUICE_VM:-/var/tmp/sluice-vm}/${kind:+$kind-}$kernel

[ "$(uname -m)" = x86_64 ] || skip "the guest is one of x86_64; this is $(uname -m)"
for tool in qemu-system-x86_64 qemu-img mmdebstrap mkfs.ext4 depmod python3; do
  command -v "$tool" >/dev/null || skip "there is no $tool (setup/packages, profile vm)"
done
of="${suite:-bookworm} ${packages:-} $(cat "$root"/test/vm/{image.sh,payload.sh,payload.service} | sha256sum | cut -c 1-16)"
if [ ! -s "$images/root.img" ] || [ "$(cat "$images/of")" != "$of" ]; then
  echo "making the guest in $images"
  # shellcheck disable=SC2086
  bash "$root/test/vm/image.sh" "$images" "$kernel" "${suite:-bookworm}" ${packages:-} || skip 'the guest could not be made: see above'
  printf '%s\n' "$of" >"$images/of"
fi

guest() {
  bash "$root/test/vm/boot.sh" "$images" "$1"
  local status=$?
  [ $status -ne 126 ] || skip 'QEMU cannot begin: see above'
  [ $status -ne 125 ] || printf '\n0 passed, 1 failed, 0 skipped\n'
  exit $status
}
