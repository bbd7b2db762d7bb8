#!/bin/bash
# The payload of doctor.sh: helper and daemon as units, `sluice doctor` and `sluice doctor --json`, printed, the latter also
# with a hook left out, and what has to be true of them on a kernel with BPF LSM (doctor-said.ts).
set -u
cat /sys/kernel/security/lsm; echo
uname -r
export PATH=$PWD/node_modules/node/bin:$PATH
# As in test/reboot, whose units are taken.
ln -s "$PWD" /sluice
mkdir -p /etc/sluice/policy build/js/build
ln -s ../../native build/js/build/native
for account in sluice sluice-agent; do
  useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$account"
done
for i in $(seq 0 63); do
  printf 'sluice-agent-%d:x:%d:%d::/nonexistent:/usr/sbin/nologin\n' "$i" $((70000 + i)) $((70000 + i)) >>/etc/passwd
  printf 'sluice-agent-%d:x:%d:\n' "$i" $((70000 + i)) >>/etc/group
done
printf '{"library": "/sluice/build/native/libsluice.so", "policy": ["/etc/sluice/policy"]}\n' >/etc/sluice/sluiced.json
cp test/systemd/policy.yaml /etc/sluice/policy/
echo 'nameserver 192.0.2.53' >/etc/resolv.conf
[ -s /etc/hosts ] || printf '127.0.0.1 localhost\n::1 localhost\n' >/etc/hosts
cp test/reboot/units/sluice-helper.service test/reboot/units/sluiced.service /etc/systemd/system/
systemctl daemon-reload
systemctl start sluice-helper sluiced

sluice() { node /sluice/build/js/daemon/bin/sluice.js "$@"; }
up() { # until sessions start
  local until=$((SECONDS + 120))
  until sluice run -- true >/dev/null 2>&1; do
    if [ "$SECONDS" -gt "$until" ]; then
      journalctl --no-pager --lines=40 -u sluice-helper -u sluiced
      printf 'FAILED: helper and daemon do not come up\n\n0 passed, 1 failed, 0 skipped\n'
      exit 1
    fi
    sleep 1
  done
}
up

printf '\n== sluice doctor\n'
COLUMNS=100 sluice doctor | tee /run/doctor.text
table=${PIPESTATUS[0]}
echo "exit status $table"
printf '\n== sluice doctor --json\n'
sluice doctor --json >/run/doctor.json
status=$?
cat /run/doctor.json
echo "exit status $status"
printf '\n== sluice doctor --json without the hook lsm_unix_stream_connect\n'
mkdir /test
echo 'WITHOUT=--require none --without lsm_unix_stream_connect' >/test/without
systemctl restart sluice-helper
up
sluice doctor --json >/run/open.json
echo "exit status $?"
printf '\n== what has to be true of them\n'
exec node --disable-warning=ExperimentalWarning test/vm/doctor-said.ts \
  /run/doctor.text "$table" /run/doctor.json "$status" /run/open.json
