#!/bin/sh
# An agent that tries to get out all the time, and says every tenth of a second what its tries came to. The last that it said
# counts.
log=/test/tries/$(cat /proc/sys/kernel/random/boot_id).$$
while sleep 0.1; do echo; done | PROBER_RATE=200 exec /test/prober 198.51.100.23 fd00:17::23 5433 5434 198.51.100.18 >"$log"
