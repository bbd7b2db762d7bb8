#!/bin/bash
# The world's end of the cable, once cable.sh has laid it.
boot=$(cat /proc/sys/kernel/random/boot_id)
until ip link show in >/dev/null 2>&1; do sleep 0.05; done
ip link set lo up
ip link set in up
ip address add 198.51.100.23/24 dev in
ip address add fd00:17::23/64 dev in nodad
exec python3 /test/world.py aloud in 5432 <>/test/ask >"/test/seen.$boot"
