#!/bin/sh
# An agent that does not want to end: it ignores what asks it to, and says every tenth of a second what its tries came to. The
# last that it said before it was killed counts. agent.sh NAME
trap '' HUP INT QUIT TERM
log=/test/$1.$(cat /test/boot).$$.log
while sleep 0.1; do echo; done | /test/prober 198.51.100.23 fd00:17::23 5433 5434 198.51.100.18 >"$log"
