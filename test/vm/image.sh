#!/usr/bin/env bash
# image.sh OUT KERNEL [SUITE [PACKAGE,…]]: makes what boot.sh boots, in the directory OUT: `vmlinux`, the uncompressed kernel of
# that package of this host's Debian, and `root.img`, a small Debian (bookworm) with systemd, and these packages, that runs what
# it is given. As root.
#
# The packages come from where this host gets its own; the image keeps no trace of that.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
out=$1
mkdir -p "$out"
package=$2 suite=${3:-bookworm} more=${4:+,$4}
kernel=$(apt-cache depends "$package" | awk '/Depends: linux-image-/ { print $2; exit }')
[ -n "$kernel" ] || { echo "apt knows no $package" >&2; exit 1; }
release=${kernel#linux-image-}

# A tree of many small files is made four times as fast in memory.
work=$(mktemp -d)
mount -t tmpfs -o size=3G sluice-vm "$work"
trap 'umount "$work"; rmdir "$work"' EXIT
root=$work/root

# shellcheck source=test/mirror.sh
. "$here/../mirror.sh"
mirror "$suite" "$work"
mmdebstrap --quiet --mode=root --variant=minbase --dpkgopt=force-unsafe-io \
  --aptopt="$work/apt.conf" --aptopt='Acquire::Languages "none"' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
  --include=systemd-sysv,dbus,udev,iproute2,kmod,procps,python3-minimal,libpython3-stdlib,bpftool,libbpf1,libvectorscan5,libatomic1$more \
  "$suite" "$root" "$work/sources.list"
rm -rf "$root"/etc/apt/sources.list* "$root"/var/lib/apt/lists "$root"/var/cache/apt

(cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$kernel" && dpkg-deb -x linux-image-*.deb kernel)
mkdir -p "$root/usr/lib/modules"
cp -a "$work/kernel/lib/modules/$release" "$root/usr/lib/modules/"
depmod -b "$root" "$release"
# QEMU starts an uncompressed kernel in a tenth of the time that the guest takes to unpack one.
python3 "$here/vmlinux.py" "$work/kernel/boot/vmlinuz-$release" "$out/vmlinux"

install -m 755 "$here/payload.sh" "$root/usr/local/sbin/payload"
install -m 644 "$here/payload.service" "$root/etc/systemd/system/payload.service"
mkdir -p "$root/etc/systemd/system/graphical.target.wants"
ln -sf ../payload.service "$root/etc/systemd/system/graphical.target.wants/payload.service"
echo guest >"$root/etc/hostname"
echo '/dev/nvme0n1 / ext4 defaults,noatime 0 1' >"$root/etc/fstab"
# Chores of a machine that stays up.
for unit in systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer \
  e2scrub_all.timer e2scrub_reap.service; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done

rm -f "$out/root.img"
truncate -s 3G "$out/root.img.tmp"
mkfs.ext4 -q -F -O ^has_journal -E lazy_itable_init=1 -d "$root" "$out/root.img.tmp"
mv "$out/root.img.tmp" "$out/root.img"
