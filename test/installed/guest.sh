#!/bin/bash
# The payload of vm.sh, in the guest, once for each boot: sees to the machine, then lives its life there.
set -u
uname -r
if [ ! -e /test ]; then
  cp -a test /test # with its modes: agents write there
  . /test/things.sh
  prepare /
  systemctl disable --quiet life.service
  systemctl daemon-reload
  systemctl start world cable shop
fi
# An emulated processor is ten times slower.
export SLUICE_LIFE_SECONDS=240
bash /test/life.sh
. /test/tally.sh
came_of /test
result
