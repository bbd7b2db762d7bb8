#!/usr/bin/env bash
# sluice as units of a booted systemd: see README.md. Ends with the line `N passed, N failed, N skipped`; exits non-zero when
# anything failed. SLUICE_SYSTEMD_WITHOUT='--without connect4 …' leaves hooks out, to see the checks fail.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
top=$(cd "$here/../.." && pwd -P)
# shellcheck source=test/machine.sh
. "$top/test/machine.sh"
machine systemd 'sluice in a booted systemd' 50%

printf '== a Debian 12 with what sluice needs at run time\n'
debian bookworm systemd-sysv,libbpf1,libelf1,zlib1g,libvectorscan5,python3-minimal,iproute2,procps
starts
installed

mkdir -p "$root/test"
chmod 777 "$root/test"
printf '{"resolvers": ["127.0.0.1:53"]}\n' >"$root/etc/sluice/sluiced.json"
cp "$here/policy.yaml" "$root/etc/sluice/policy/"
cp "$top/test/tally.sh" "$top/test/daemon-faults.sh" "$here/inside.sh" "$here/probe.py" "$here/witness.py" "$here/evaluate.mjs" "$root/test/"
cp "$here/units/"*.service "$root/etc/systemd/system/"
# override UNIT LINE…
override() {
  mkdir -p "$root/etc/systemd/system/$1.d"
  printf '%s\n' '[Service]' "${@:2}" >>"$root/etc/systemd/system/$1.d/test.conf"
}
# Half a minute is long for a test. What is looked at, and how, is the same.
override sluiced.service 'WatchdogSec=6s' 'ExecStartPre='
if [ -n "${SLUICE_SYSTEMD_WITHOUT:-}" ]; then
  override sluice-helper.service 'ExecStart=' "ExecStart=/usr/lib/sluice/sluice-helper --delegated $SLUICE_SYSTEMD_WITHOUT"
fi
systemctl --root="$root" --quiet enable test.service witness.service sluice-helper.service sluiced.service

lives 300 --private-network "${binds[@]}"
result
