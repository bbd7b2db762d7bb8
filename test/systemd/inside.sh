#!/bin/bash
# Runs inside as a unit, once for each boot. Leaves its counts in /test/result.
set -uo pipefail
slice=/sys/fs/cgroup/sluice.slice
sessions=$slice/sluice-agents.slice/sluice-helper.service/sluice/sessions

# shellcheck source=test/tally.sh
. /test/tally.sh
kept /test/result
# shellcheck source=test/daemon-faults.sh
. /test/daemon-faults.sh
look() { # after each failure
  systemctl --no-pager --lines=0 status sluice-helper sluiced agent 2>&1 | grep -E 'service -|Active:|Status:'
  journalctl --no-pager --quiet -o short-monotonic -n 12 _SYSTEMD_UNIT=sluiced.service + UNIT=sluiced.service
  tail -n 3 /test/agent.log
}
within() { # within COMMAND…: true before long?
  local until=$((SECONDS + 30))
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$until" ] || return 1
    sleep 0.1
  done
}
not() { ! "$@"; }
up() { within sluice status && within sluice run -- true; }
agent_says() { grep -q "$1" /test/agent.log; }
once() { sluice run -- /usr/bin/python3 /test/probe.py 2>&1; }
closed() {
  local said
  said=$(once)
  [ "$said" = CLOSED ] || { printf "not CLOSED: %s\n" "$said"; false; }
}
seqs() { # seqs COMMAND…: sequence numbers of the events that it prints as lines of JSON, whichever it calls them
  "$@" | sed -nE 's/.*"(seq|SLUICE_SEQ)":"?([0-9]+)"?[,}].*/\2/p' | sort -n
}
# The journal and the audit give the same events for the same words, each once.
same() { # same FIELD=value…
  within caught_up
  diff <(seqs sluice audit -o json "$@") <(seqs journalctl --no-pager -q -t sluiced -o json "${@/#/SLUICE_}") | head -n 5 &&
    [ -n "$(seqs sluice audit -o json "$@")" ]
  return "${PIPESTATUS[0]}"
}
caught_up() { [ "$(sluice audit -n 1 -o json | seqs cat)" = "$(journalctl -q -t sluiced SLUICE_SCHEMA=4 -n 1 -o json | seqs cat)" ]; }
status_of() { systemctl show --property=StatusText --value "$1"; }
# Was the last connection one that the kernel had said something of?
attributed() { sluice audit TYPE=flow.start TYPE=fault -n 1 -o json | grep -q '"error":"FLOW_NO_RESOURCE"'; }
refusals() { cat /test/agent.log /test/agent.before | grep -c ECONNREFUSED; }
not_direct() { not grep -q DIRECT /test/agent.log /test/agent.before; }
recorded() { sluice audit -o json | grep -q '198\.51\.100\.23'; }
# Its lines go to where the last look of all finds them.
empty() { cat /test/agent.log >>/test/agent.before && : >/test/agent.log; }
gone() { [ ! -d "$slice" ]; }
# What matters to systemd is that our processes are in our unit's subtree, and to the kernel that they are in a session.
main_in_session() {
  local pid
  pid=$(pgrep -f '^/usr/bin/python3 /test/probe.py for ever') && grep -q '/sluice-agents.slice/sluice-helper.service/sluice/sessions/' "/proc/$pid/cgroup"
}

if [ ! -e /test/booted ]; then
  touch /test/booted /test/agent.log /test/agent.before
  check 'helper and daemon come up as units' up
  check 'the sessions are below the unit of the helper' test -d "$sessions"
  check 'the witness is reached outside of a session' test "$(python3 /test/probe.py)" = DIRECT
  check 'a session reaches sluiced' closed
  check 'which records it' within recorded

  printf '\n== sluice doctor\n'
  sluice doctor
  echo "exit status $?"
  printf '\n== sluice doctor --json\n'
  sluice doctor --json
  echo "exit status $?"
  printf '\n== an existing service\n'

  systemctl start agent
  check 'the service reaches the witness without its drop-in' within agent_says DIRECT
  systemctl stop agent
  : >/test/agent.log
  mkdir -p /etc/systemd/system/agent.service.d
  sluice systemd drop-in agent.service >/etc/systemd/system/agent.service.d/50-sluice.conf
  check 'the drop-in runs the command by sluice run' grep -q ' run -- /usr/bin/python3 /test/probe.py for ever$' /etc/systemd/system/agent.service.d/50-sluice.conf
  systemctl daemon-reload
  empty
  systemctl start agent
  check 'with its drop-in the service reaches sluiced' within agent_says CLOSED
  check 'its process is in a session' main_in_session
  systemctl restart agent
  check 'after a restart, too' within main_in_session

  systemctl daemon-reload
  systemctl daemon-reexec
  check 'after daemon-reload and daemon-reexec a new session reaches sluiced' closed
  check 'and the service is still in its session' main_in_session

  systemctl restart sluice-helper
  check 'the session outlives a restart of the helper' main_in_session
  check 'and new ones reach sluiced' up

  empty
  systemctl stop sluice.slice
  check 'the slice stops with helper and daemon' within not systemctl is-active sluice-helper sluiced
  check 'and no session starts' not sluice run -- true
  systemctl stop agent
  check 'the service never reached the witness meanwhile' not_direct

  # As if nothing pulled helper and daemon in, and without the restarts that would.
  mkdir -p /run/systemd/system/agent.service.d
  printf '[Service]\nRestart=no\n' >/run/systemd/system/agent.service.d/90-once.conf
  systemctl daemon-reload
  empty
  systemctl start --job-mode=ignore-dependencies agent
  check 'the service does not start alone' within systemctl is-failed agent
  check 'nothing of it has run' not agent_says '^[A-Z]*$'
  rm -r /run/systemd/system/agent.service.d
  systemctl daemon-reload
  # Processes outlived the first stop, and with them the cgroup.
  systemctl start sluice-helper sluiced
  check 'helper and daemon come back alone' up
  systemctl stop sluice.slice
  check 'systemd prunes the empty slice' within gone
  systemctl start agent
  check 'the service brings helper and daemon back' within systemctl is-active sluice-helper sluiced
  check 'made again, a session reaches sluiced' eval 'up && closed'
  check 'and the service does' within main_in_session
  check 'at no moment did the service reach the witness' not_direct

  empty
  systemctl stop agent
  up
  sluice sessions running
  for session in "$sessions"/*/; do within rmdir "$session"; done
  rmdir "$sessions" && mkdir "$sessions"
  check 'no session starts outside of the hooks when the cgroup was made anew' eval 'said=$(once); echo "$said"; [[ $said != *DIRECT* ]]'
  check 'and the helper comes back with hooks' eval 'up && within closed'

  printf '\n== sluiced as a unit\n'
  check 'sluiced is in the cgroup of its unit' grep -qx '0::/sluice.slice/sluiced.service' "/proc/$(main_pid sluiced)/cgroup"
  check 'has no capability' grep -q '^CapBnd:.0*$' "/proc/$(main_pid sluiced)/status"
  check 'and says how it is' eval '[[ $(status_of sluiced) == *" sessions, 0 connections, 0 held for approval; policy "* ]]'
  check 'the helper says so, too' eval '[[ $(status_of sluice-helper) == *"hooks attached" ]]'
  check 'systemd keeps its listeners' within eval '[ "$(systemctl show --property=NFileDescriptorStore --value sluiced)" = 4 ]'
  check 'a policy is read anew' systemctl reload sluiced
  printf 'rules: {}\n' >>/etc/sluice/policy/policy.yaml
  check 'a bad one is refused' not systemctl reload sluiced
  sed -i '$d' /etc/sluice/policy/policy.yaml
  # With no session, systemd removes the cgroups of a helper that is not there.
  systemctl stop sluice-helper
  check 'the cgroups go with the helper' within eval '[ ! -d "$sessions" ]'
  systemctl start sluice-helper
  check 'and sluiced listens in those that are made anew' within within eval 'up && closed && attributed'

  printf '\n== started again, and stopped\n'
  systemctl start agent
  within main_in_session
  empty
  within agent_says CLOSED
  remember
  before=$(refusals)
  for _ in 1 2 3; do systemctl restart sluiced; done
  empty
  check 'the agent goes on in the same session' within agent_says CLOSED
  check 'no connection was refused while sluiced was started again' test "$(refusals)" -eq "$before"
  check 'and those that waited are known to it' attributed
  check 'and nothing of the audit is lost' acknowledged
  systemctl stop sluiced
  empty
  check 'stopped for good, agents are refused by the kernel' within agent_says ECONNREFUSED
  systemctl start sluiced
  empty
  check 'started, they reach it' within agent_says CLOSED

  printf '\n== the watchdog\n'
  remember
  kill -STOP "$pid"
  check 'one that is stopped is started again' within new_daemon
  check 'and nothing of the audit is lost' acknowledged
  remember
  evaluate 'for (;;);'
  check 'one whose event loop is blocked is started again' within new_daemon
  check 'and nothing of the audit is lost' acknowledged
  exhausted
  empty
  check 'the agent is still in its session' main_in_session
  check 'and was refused meanwhile, never let out' not_direct
  systemctl stop agent

  printf '\n== the journal\n'
  systemctl kill --signal=STOP systemd-journald
  sluice run -- /bin/sh -c $'true\nSLUICE_DECISION=allow\nSLUICE_FORGED=1\n\n__REALTIME_TIMESTAMP=1'
  systemctl restart sluiced
  closed
  systemctl kill --signal=CONT systemd-journald
  check 'every event is in the journal' same
  check 'those that were denied, by the same words' same DECISION=deny
  check 'those of one kind' same TYPE=session.start
  check 'an agent can not write fields of its own' not grep -q . <(journalctl -q SLUICE_FORGED=1)
  check 'what it wrote is in one' eval 'journalctl -q -t sluiced SLUICE_TYPE=session.start -o json | grep -q "SLUICE_FORGED=1"'
  check 'priorities: a denial is a warning' eval 'journalctl -q -t sluiced -p warning SLUICE_DECISION=deny | grep -q deny'
  check 'and a session no more than information' not grep -q . <(journalctl -q -t sluiced -p notice SLUICE_TYPE=session.start)

  systemctl enable agent
  empty
  systemctl --force reboot
  exit
fi
check 'after a reboot the service reaches sluiced' within agent_says CLOSED
check 'and a session does' eval 'up && closed'
check 'the service never reached the witness' not_direct
touch /test/complete
systemctl --force poweroff
