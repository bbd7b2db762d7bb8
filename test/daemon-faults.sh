# shellcheck shell=bash
# What befalls a daemon under systemd, and what it has to come to: sourced within a machine, with `within` and `up` there, and
# evaluate.mjs in /test.
#
#   remember            the daemon's pid, and the tail of the audit
#   new_daemon          is there another one, with which sessions start?
#   acknowledged        is all that was remembered in the audit, byte by byte, and its chain whole?
#   evaluate JAVASCRIPT runs it in the daemon
#   exhausted           checks what becomes of a daemon that takes all memory

main_pid() { systemctl show --property=MainPID --value "$1"; }
remember() {
  pid=$(main_pid sluiced)
  sluice audit -n 200 -o json >/test/acknowledged
}
new_daemon() { local now; now=$(main_pid sluiced); [ "$now" != 0 ] && [ "$now" != "$pid" ] && up; }
acknowledged() { ! grep -vxFf <(sluice audit -o json) /test/acknowledged && sluice verify; }
evaluate() { kill -USR1 "$(main_pid sluiced)" && within /usr/lib/sluice/bin/node /test/evaluate.mjs "$1"; }

exhausted() {
  if [ ! -e /sys/fs/cgroup/sluice.slice/sluiced.service/memory.high ]; then
    skipped 'one that leaks is started again' 'cgroup v2 has no memory controller here'
    skipped 'one that takes all memory at once is started again' 'cgroup v2 has no memory controller here'
    return
  fi
  remember
  evaluate 'globalThis.kept = []; setInterval(() => kept.push(Buffer.alloc(4 << 20, 1)), 50)'
  check 'one that leaks is started again' within new_daemon
  check 'after it said so' eval 'sluice audit -o json ERROR=MEMORY_LIMIT | grep -q "slowed down"'
  check 'and nothing of the audit is lost' acknowledged
  remember
  evaluate 'globalThis.kept = []; for (;;) kept.push(Buffer.alloc(4 << 20, 1))'
  check 'one that takes all memory at once is started again' within new_daemon
  check 'and nothing of the audit is lost' acknowledged
}
