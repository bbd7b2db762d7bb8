#!/bin/bash
# The payload: runs the tests of native/ in the guest, with everything built on the host. See run.sh.
set -u
cat /sys/kernel/security/lsm; echo
uname -r
modprobe -a sctp dccp_ipv4 vsock_loopback af_alg tun 2>/dev/null
# A network that leads nowhere: some ways out want a route to be tried at all.
ip link add nowhere type veth peer name nobody && ip link set nowhere up && ip address add 192.0.2.7/24 dev nowhere &&
  ip address add fd00:7::7/64 dev nowhere nodad && ip link set nobody up && ip route add default via 192.0.2.1 && ip route add default via fd00:7::1
[ -s /etc/hosts ] || printf '127.0.0.1 localhost\n::1 localhost\n' >/etc/hosts
# Other numbers than the host's: an emulated processor is ten times slower.
export SLUICE_PREBUILT=1 SLUICE_WAYS_COARSE=1 SLUICE_TEST_START_MS=120000 SLUICE_TEST_FILE_MS=1800000
export PATH=$PWD/node_modules/node/bin:$PATH
exec node test/run.ts "$@"
