#!/bin/bash
# The machine's end of the cable to the world, whose network its unit has.
set -e
world=$(systemctl show --property=MainPID --value world)
ip link add out type veth peer name in netns "$world"
ip link set lo up
ip link set out up
for last in 17 18; do ip address add "198.51.100.$last/24" dev out; done
ip address add fd00:17::17/64 dev out nodad
echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range
until grep -q ready "/test/seen.$(cat /proc/sys/kernel/random/boot_id)" 2>/dev/null; do sleep 0.05; done
