#!/usr/bin/env bash
# The packages that `npm run package` writes: see README.md. Ends with the line `N passed, N failed, N skipped`; exits non-zero
# when anything failed. SLUICE_PACKAGE_BUILT=1 takes those that are there, and does not build them twice.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
top=$(cd "$here/../.." && pwd -P)
cd "$top"
what=packages
# shellcheck source=test/tally.sh
. test/tally.sh
not() { ! "$@"; }

if [ -z "${SLUICE_PACKAGE_MOUNTS:-}" ]; then
  sh setup/ensure.sh package || skip 'what makes them (setup/packages, profile package) could not be installed'
  unshare --mount true 2>/dev/null || skip 'nothing can be mounted here'
  SLUICE_PACKAGE_MOUNTS=1 exec unshare --mount --propagation private bash "$here/run.sh"
fi
work=/mnt
mount -t tmpfs -o mode=755,size=75% sluice-package "$work"
trap 'umount -l "$work"' EXIT

version=$(sed -n 's/^  "version": "\(.*\)",$/\1/p' package.json)
deb() { printf '%s/build/packages/sluice_%s_%s.deb' "${2:-$top}" "$version" "$1"; }

# ---------------------------------------------------------------- twice the same
if [ -z "${SLUICE_PACKAGE_BUILT:-}" ]; then
  rm -rf build/package build/packages
  check 'npm run package' npm run package
  copy=$work/elsewhere
  mkdir "$copy"
  git ls-files -co --exclude-standard -z | tar -c --null -T - | tar -x -C "$copy"
  [ ! -d systemd ] || cp -a systemd "$copy/"
  cp -a node_modules "$copy/"
  mkdir -p "$copy/build"
  cp -a build/cache "$copy/build/"
  when=$(git log -1 --format=%ct)
  (cd "$copy" && umask 077 && SOURCE_DATE_EPOCH=$when TZ=Asia/Tokyo npm run package) >"$work/second" 2>&1 || tail -n 20 "$work/second"
  for arch in amd64 arm64; do
    check "the same bytes elsewhere, under another umask and time zone: $arch" cmp "$(deb $arch)" "$(deb $arch "$copy")"
  done
  rm -rf "$copy"
fi

# ---------------------------------------------------------------- what is in it
modes() { # everything belongs to root, is written by root alone, and only programs are executable
  dpkg-deb -c "$1" | awk '
    $2 != "root/root" || ($1 !~ /^l/ && $1 ~ /^.....w|^........w|[sStT]/) { print; bad = 1 }
    $1 ~ /^-..x/ && $6 !~ /^\.\/usr\/(bin\/sluice|sbin\/sluiced|lib\/sluice\/(bin\/node|sluice-(helper|launch|probe)))$/ { print; bad = 1 }
    END { exit bad }'
}
holds() {
  local path
  for path in etc/sluice/sluiced.json etc/sluice/policy/sluice.yaml usr/bin/sluice usr/sbin/sluiced usr/sbin/sluice-helper \
    usr/lib/sluice/bin/node usr/lib/sluice/sluice-helper usr/lib/sluice/sluice-launch usr/lib/sluice/sluice-probe \
    usr/lib/sluice/libsluice.so usr/lib/sluice/daemon/bin/sluiced.js usr/lib/systemd/system/sluiced.service \
    usr/lib/systemd/system/sluice-helper.service usr/lib/sysusers.d/sluice.conf usr/share/doc/sluice/sbom.cdx.json \
    usr/share/doc/sluice/copyright usr/share/doc/sluice/changelog.gz usr/share/man/man1/sluice.1.gz \
    usr/share/man/man5/sluice.yaml.5.gz usr/share/man/man5/sluiced.json.5.gz usr/share/man/man8/sluiced.8.gz \
    usr/share/man/man8/sluice-helper.8.gz usr/share/sluice/monitoring/dashboard.json usr/share/sluice/monitoring/rules.yaml; do
    [ -e "$1/$path" ] || [ -L "$1/$path" ] || { printf 'missing: %s\n' "$path"; return 1; }
  done
}
elf() { # elf ROOT MACHINE: every ELF file is for it, has a build id and nothing for debuggers
  find "$1" -type f -size +1k -exec file {} + | grep ' ELF ' | tee "$work/elf" |
    grep -vE "$2.*BuildID.*, stripped|$2.*BuildID.*not stripped, too many notes" | grep -v 'koffi.node' | not grep .
  [ "$(grep -c . "$work/elf")" -ge 6 ] && not grep -v "$2" "$work/elf" && not grep 'with debug_info' "$work/elf"
}
no_path() { not grep -raIlF -e "$top" "$1" && not grep -rlaF -e "$top" "$1/usr/lib/sluice"; }
small() { [ "$(stat -c %s "$1")" -lt 50000000 ]; }
parts() { # each package of node_modules is in the list of parts
  (cd "$1/usr/lib/sluice" && find node_modules -name package.json -path '*/node_modules/*' | while read -r file; do
    usr=$(sed -n 's/^ *"name": *"\([^"]*\)".*/\1/p' "$file" | head -n 1)
    [ "${file%/package.json}" != "${file%"/$usr/package.json"}/$usr" ] || grep -qF "\"name\": \"$usr\"" "$1/usr/share/doc/sluice/sbom.cdx.json" || echo "$usr"
  done) | not grep .
}
page() { [ -z "$(man --warnings -l -Tutf8 -Z "$1" 2>&1 >/dev/null)" ] && mandoc -T lint -W warning "$1"; }
for arch in amd64 arm64; do
  root=$work/$arch
  dpkg-deb -x "$(deb $arch)" "$root"
  check "lintian finds no error and no warning: $arch" lintian --allow-root --fail-on error,warning "$(deb $arch)"
  check "smaller than 50 MB: $arch" small "$(deb $arch)"
  check "owners and modes: $arch" modes "$(deb $arch)"
  check "all that is promised is there: $arch" holds "$root"
  check "no path of the machine that builds: $arch" no_path "$root"
  check "all parts are listed: $arch" parts "$root"
done
check 'every program and library is for amd64' elf "$work/amd64" x86-64
check 'every program and library is for arm64' elf "$work/arm64" aarch64
for file in "$work"/amd64/usr/share/man/man*/*.gz; do check "renders without a warning: $(basename "$file")" page "$file"; done

# ---------------------------------------------------------------- completions, by the shells themselves
share=$work/amd64/usr/share
in_bash() { bash -c '. "$0"; COMP_WORDS=(sluice a) COMP_CWORD=1; _sluice; [ "${COMPREPLY[*]}" = "approvals audit" ]' "$share/bash-completion/completions/sluice"; }
in_fish() { [ "$(fish --no-config -c "source $share/fish/vendor_completions.d/sluice.fish; complete -C 'sluice a'" | cut -f 1 | tr '\n' ' ')" = 'approvals audit ' ]; }
in_zsh() { timeout 20 zsh -f "$here/completion.zsh" "$share/zsh/vendor-completions" 'sluice a' 'show what was recorded' | grep -q approvals; }
check 'bash completes' in_bash
check 'fish completes' in_fish
check 'zsh completes' in_zsh

# ---------------------------------------------------------------- on a bare Debian, without a running systemd
inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
files() { find "$root" -xdev \( -path "$root/proc" -o -path "$root/dev" -o -path "$root/tmp" -o -path "$root/var/log" -o -path "$root/var/cache" -o -path "$root/var/lib/dpkg" -o -path "$root/var/lib/apt" \) -prune -o -print | sort; }
# shellcheck disable=SC2016
apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
  awk '$3 ~ /^bookworm(-updates|-security)?$/' | sort -u >"$work/bookworm"
[ -s "$work/bookworm" ] || printf 'deb http://deb.debian.org/debian bookworm main\n' >"$work/bookworm"
sed 's/bookworm/trixie/g' "$work/bookworm" >"$work/trixie"
apt-config dump | grep -E '^Acquire::(http|https|Check|Retries|ForceIP|Languages)' >"$work/apt.conf" || true
for suite in bookworm trixie; do
  root=$work/$suite.root
  mmdebstrap --quiet --mode=root --variant=minbase --aptopt="$work/apt.conf" --dpkgopt=force-unsafe-io "$suite" "$root" "$work/$suite" ||
    { skipped "$suite" 'no Debian could be made: see above'; continue; }
  cp /etc/hosts /etc/resolv.conf "$root/etc/"
  mount -t proc proc "$root/proc"
  cp "$(deb "$(dpkg --print-architecture)")" "$root/tmp/sluice.deb"
  inside apt-get -qq update
  check "$suite: apt install" inside apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends /tmp/sluice.deb
  check "$suite: sluice --version" test "$(inside sluice --version)" = "$version"
  check "$suite: sluice --help" eval 'inside sluice --help | grep -q approvals'
  check "$suite: sluiced --help" eval 'inside sluiced --help | grep -q -- --config'
  check "$suite: sluice-helper --help" eval 'inside sluice-helper --help | grep -q -- --delegated'
  check "$suite: the policy as it comes is valid" inside sluice policy check /etc/sluice/policy
  check "$suite: accounts" test "$(inside id -u sluice-agent-63)" = 70063
  check "$suite: purge" inside apt-get -qq -o Dpkg::Use-Pty=0 purge -y sluice
  files >"$work/before"
  check "$suite: nothing is left" not grep -i sluice "$work/before"
  inside apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends /tmp/sluice.deb >/dev/null 2>&1
  mkdir -p "$root/var/lib/sluice/audit" && echo x >"$root/var/lib/sluice/audit/events.mdb"
  check "$suite: purge says that the audit goes" eval 'inside apt-get -qq -o Dpkg::Use-Pty=0 purge -y sluice 2>&1 | grep -q "the audit goes now: /var/lib/sluice/audit, [0-9]* bytes"'
  files >"$work/after"
  check "$suite: and leaves what was there before" diff "$work/before" "$work/after"
  umount "$root/proc"
done
result
