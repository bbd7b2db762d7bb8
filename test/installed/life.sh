#!/bin/bash
# The life of sluice on a machine, as its operator leads it, from `apt install` to purge, while an agent tries to get out and
# somebody outside looks. Runs as root in the booted machine, once for each boot; leaves its counts in /test/result
# and its place in /test/stage. /test/old.deb and /test/new.deb are the packages.
set -uo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
boot=$(cat /proc/sys/kernel/random/boot_id)
. /test/versions

# shellcheck source=test/tally.sh
. /test/tally.sh
kept /test/result
# shellcheck source=test/daemon-faults.sh
. /test/daemon-faults.sh
within() { # within COMMAND…: true before long?
  local until=$((SECONDS + ${SLUICE_LIFE_SECONDS:-30}))
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$until" ] || return 1
    sleep 0.2
  done
}
not() { ! "$@"; }
says() { # says FILE TEXT: does the file hold it? Shown, if not.
  grep -qF -- "$2" "$1" || { printf 'not "%s", but:\n' "$2"; head -c 2000 "$1"; return 1; }
}
look() { # after each failure
  systemctl --no-pager --no-legend list-units 'sluice*'
  # What systemd says of them, and what they say beside the events, which come by another way.
  journalctl -q --no-pager -n 30 -o short-precise UNIT=sluiced.service + UNIT=sluice-helper.service + \
    _TRANSPORT=stdout _SYSTEMD_UNIT=sluiced.service + _TRANSPORT=stdout _SYSTEMD_UNIT=sluice-helper.service | cut -c1-240
}
part() { printf '\n== %s\n' "$1"; }
as() { runuser -u "$1" -- "${@:2}"; }

# ---------------------------------------------------------------- what lies outside
# The last line that the world said, asked for anew.
world() {
  local lines
  lines=$(wc -l <"/test/seen.$boot")
  echo count >/test/ask
  until [ "$(wc -l <"/test/seen.$boot")" -gt "$lines" ]; do sleep 0.05; done
  tail -n 1 "/test/seen.$boot"
}
no_escape() {
  local now
  now=$(world)
  [[ $now == *'"escapes": 0,'*'"posing": 0,'*'"lost": 0,'* ]] || { cut -c -600 <<<"$now"; return 1; }
}
tries() { cat "/test/tries/$boot".* 2>/dev/null | sed -nE 's/.*"tries":([0-9]+).*/\1/p' | tail -n 1; }
database() { psql -X -h /test/socket -U postgres -d shop -Atc "$1"; }

# ---------------------------------------------------------------- the agent of somebody
# In one session: SQL…, each by a psql of its own. "wait" between them waits for /test/go.
cat >/test/agent-sql.sh <<'SH'
for sql; do
  if [ "$sql" = wait ]; then until [ -e /test/go ]; do sleep 0.2; done
  else psql -X -h 198.51.100.23 -U shop -d shop -Atc "$sql" 2>&1; fi
done
SH
agent_sql() { as dev sluice run -- /bin/sh /test/agent-sql.sh "$@" 2>&1 </dev/null; }
held() { as boss sluice approvals list --json | python3 -c 'import json, sys; print(*(json.loads(line)["id"] for line in sys.stdin))'; }
is_held() { [ -n "$(held)" ]; }
approve() { as boss sluice approvals approve "$(held)"; }
agent_main() { systemctl show --property=MainPID --value sluice-agent@prober; }
goes_on() { # goes_on: does the agent make tries?
  local before
  within eval '[ -n "$(tries)" ]' || return
  before=$(tries)
  within eval "[ \"\$(tries)\" -gt $before ]"
}
governed() { # governed: what an agent's psql comes to
  local said
  said=$(agent_sql 'SELECT email FROM people' 'DROP TABLE people' 'SELECT 6 * 7')
  printf '%s\n' "$said"
  [[ $said != *analytical* && $said == *'migrations only'* && $said == *42* ]]
}
up() { sluice status >/dev/null 2>&1 && as dev sluice run -- true; }

# ---------------------------------------------------------------- its life
files() { find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /test -o -path /var/log -o -path /var/cache -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/lib/systemd -o -path /var/lib/postgresql -o -path /var/tmp \) -prune -o -print | sort; }
apt() { apt-get -y -q -o Dpkg::Use-Pty=0 "$@" </dev/null >/test/apt.log 2>&1; }

shop() { psql -X -q -h /test/socket -U postgres -c 'SELECT'; }

install() {
  check 'the database outside is there' within shop
  psql -X -q -h /test/socket -U postgres -f /test/shop.sql

  part 'apt install'
  files >/test/files.before
  check 'the package installs' apt install /test/old.deb
  cat /test/apt.log
  check 'it says what to do next' says /test/apt.log 'systemctl enable --now'
  check 'nothing runs yet' not systemctl --quiet is-active sluiced sluice-helper
  check 'no configuration comes of the machine' test -s /etc/sluice/sluiced.json

  part 'one file, and systemctl enable --now'
  cp /test/policy.yaml /etc/sluice/policy/shop.yaml
  mkdir -p /etc/systemd/system/sluiced.service.d
  printf '[Service]\nLoadCredentialEncrypted=shop:/etc/sluice/shop.credential\n' >/etc/systemd/system/sluiced.service.d/credentials.conf
  check 'the credential is kept encrypted' eval "printf 'the real credential' | systemd-creds encrypt --with-key=host --name=shop - /etc/sluice/shop.credential"
  printf 'COMMAND=/bin/sh /test/agent.sh\n' >/etc/sluice/agents/prober.env
  systemctl daemon-reload
  check 'sluice starts' systemctl enable --now sluice-helper sluiced
  check 'and the agent' systemctl enable --now sluice-agent@prober
  check 'it is well' within up
  sluice status
  check 'the agent tries to get out' goes_on
}

use() {
  part "an agent's psql"
  check 'it reads with a mask, and may not change the schema' governed
  agent_sql 'UPDATE orders SET quantity = 7 WHERE id = 1' >/test/held.out &
  check 'an UPDATE waits for a dba' within is_held
  as boss sluice approvals list
  check 'nothing of it happened' test "$(database 'SELECT quantity FROM orders WHERE id = 1')" = 1
  check 'the dba approves' approve
  wait $!
  check 'it is done' says /test/held.out 'UPDATE 1'
  check 'once' test "$(database 'SELECT quantity FROM orders WHERE id = 1')" = 7

  part 'audit and journal'
  sluice audit DECISION=deny TYPE=operation | grep -v '198.51.100.23:5433' | tail -n 3
  check 'journalctl answers the same as sluice audit' within same_denials
  check 'the chain holds' sluice verify
}
# Of the events up to one moment, as the agent makes more all the time.
same_denials() {
  local last
  last=$(sluice audit -n 1 -o json | python3 -c 'import json, sys; print(json.loads(sys.stdin.readline())["seq"])')
  sluice audit DECISION=deny -o json | python3 /test/seqs.py seq "$last" >/test/denied.audit
  journalctl -t sluiced SLUICE_DECISION=deny -o json | python3 /test/seqs.py SLUICE_SEQ "$last" >/test/denied.journal
  [ -s /test/denied.audit ] && cmp -s /test/denied.audit /test/denied.journal
}

replaced() { # replaced HOW PACKAGE VERSION: under a running query, a held approval, and the agent
  local how=$1 package=$2 version=$3 main query waiting
  part "$how"
  main=$(agent_main)
  rm -f /test/go
  database 'UPDATE orders SET quantity = 1' >/dev/null
  agent_sql 'SELECT count(*) FROM orders, pg_sleep(15)' >/test/running.out &
  query=$!
  check 'a query runs' within eval '[ "$(database "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '"'%pg_sleep(15)%'"' AND usename = '"'shop'"'")" = 1 ]'
  agent_sql 'UPDATE orders SET quantity = 8 WHERE id = 2' wait 'UPDATE orders SET quantity = 8 WHERE id = 2' >/test/held.out &
  waiting=$!
  check 'an approval is held' within is_held
  check "$package is put in" apt install --allow-downgrades "/test/$package.deb"
  cat /test/apt.log
  check 'it is the one that runs' within eval "[[ \$(sluice status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)[\"version\"])') == $version ]]"
  check 'the agent is the same process, in the same session' test "$(agent_main)" = "$main"
  check 'and goes on' goes_on
  wait $query
  cat /test/running.out
  check 'the query had its result, or an error that says why' eval 'says /test/running.out 2 >/dev/null || says /test/running.out sluice'
  check 'the approval is still there' within is_held
  check 'the dba approves' approve
  touch /test/go
  wait $waiting
  cat /test/held.out
  check 'and the same statement passes' eval 'within says /test/held.out "UPDATE 1"'
  check 'once' test "$(database 'SELECT quantity FROM orders WHERE id = 2')" = 8
  check 'an agent is governed as before' governed
  check 'the chain holds' sluice verify
  check 'nothing got out' no_escape
}

removed() {
  part 'apt remove'
  local pids
  pids=$(systemctl show --property=MainPID --value sluice-agent@prober)
  check 'the package goes' apt remove sluice
  cat /test/apt.log
  check 'the agent is gone' not test -d "/proc/$pids"
  check 'no prober is left' not pgrep -x prober
  check 'no program is pinned any more' not eval 'findmnt -t bpf | grep -q sluice'
  check 'no unit is left behind' not eval "systemctl list-units --no-legend 'sluice*' | grep -q running"
  check 'the record is kept' test -e /var/lib/sluice/audit/events.mdb
  check 'nothing got out' no_escape

  part 'apt purge'
  check 'the package is purged' apt purge sluice
  cat /test/apt.log
  check 'it said that the record goes' says /test/apt.log audit
  check 'no state and no configuration are left' not eval 'ls -d /var/lib/sluice* /etc/sluice* /run/sluice* 2>/dev/null'
  rm -rf /etc/systemd/system/sluiced.service.d
  systemctl daemon-reload
  files >/test/files.after
  check 'the file system is as before' diff /test/files.before /test/files.after
}

# That the world sees what gets out: the same agent, which nothing holds.
unheld() {
  part 'the same agent without sluice'
  # It goes on until its input ends.
  within not no_escape | PROBER_RATE=200 /test/prober 198.51.100.23 fd00:17::23 5433 5434 198.51.100.18 >/dev/null
  check 'gets out' eval '! no_escape >/dev/null'
}

stage=$(cat /test/stage 2>/dev/null || echo new)
case $stage in
  new)
    install
    use
    replaced 'an upgrade' new "$NEW"
    echo upgraded >/test/stage
    part 'a reboot'
    echo 'the payload goes on after a reboot'
    systemctl reboot
    sleep 600 # nothing more in this boot: systemd ends it
    ;;
  upgraded)
    check 'after a reboot it is well' within up
    check 'the agent is there again' goes_on
    check 'and governed' governed
    check 'the chain holds' sluice verify
    check 'nothing got out while it went down and came up' eval 'no_escape && ! cat /test/seen.* | grep -q "\"escapes\": [1-9]"'
    part 'a daemon that takes all memory'
    exhausted
    check 'nothing got out' no_escape
    replaced 'back to the version before' old "$OLD"
    removed
    unheld
    printf 'the agent made %s tries to get out\n' "$(for log in /test/tries/*; do tail -n 1 "$log"; done | awk -F'[:,]' '{ n += $4 } END { print n }')"
    touch /test/complete
    ;;
esac
