#!/usr/bin/env bash
# A host that is rebooted under an agent that wants out: see README.md. Ends with the line `N passed, N failed, N skipped`;
# exits non-zero when anything failed. SLUICE_REBOOT_WITHOUT='--require none --without connect4 …' leaves hooks out, to see
# the checks fail.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
top=$(cd "$here/../.." && pwd -P)
# shellcheck source=test/machine.sh
. "$top/test/machine.sh"
machine reboot 'a reboot under attack' 50%

# ---------------------------------------------------------------- the root
printf '== a Debian 12 with what sluice needs at run time\n'
debian bookworm systemd-sysv,libbpf1,libelf1,zlib1g,libvectorscan5
starts
mkdir -p "$root/sluice" "$root/test" "$root/etc/sluice/policy"
chmod 777 "$root/test"
accounts
printf '{"library": "/sluice/build/native/libsluice.so", "policy": ["/etc/sluice/policy"], "resolvers": ["127.0.0.1:53"]}\n' \
  >"$root/etc/sluice/sluiced.json"
# Who does not end when asked to is alone for so long with what systemd left mounted, in its unit and again without one.
mkdir -p "$root/etc/systemd/system.conf.d"
printf '[Manager]\nDefaultTimeoutStopSec=4s\n' >"$root/etc/systemd/system.conf.d/stop.conf"
cp "$here/policy.yaml" "$root/etc/sluice/policy/"
cc -O2 -o "$root/test/prober" "$top/test/killed/prober.c"
cp "$here/agent.sh" "$root/test/"
printf 'WITHOUT=%s\n' "${SLUICE_REBOOT_WITHOUT:-}" >"$root/test/without"
cp "$here/units/"*.service "$root/etc/systemd/system/"
systemctl --root="$root" --quiet enable sluice-helper.service sluiced.service power.service agent@own.service agent@named.service

# ---------------------------------------------------------------- the host's network, and the world
ours unshare --net sleep 3600 &
agents=$!
ours unshare --net sleep 3600 &
world=$!
own() { readlink "/proc/$1/ns/net" | grep -qvxF "$(readlink /proc/self/ns/net)"; }
until own $agents && own $world; do sleep 0.02; done
at() { nsenter --net="/proc/$1/ns/net" "${@:2}"; }
at $agents ip link add out type veth peer name in netns $world
at $agents ip link set lo up
at $world ip link set lo up
side() { # side PID DEVICE LAST
  at "$1" ip link set "$2" up
  at "$1" ip address add "198.51.100.$3/24" dev "$2"
  at "$1" ip address add "fd00:17::$3/64" dev "$2" nodad
}
side $agents out 17
side $world in 23
at $agents ip address add 198.51.100.18/24 dev out
at $agents sh -c 'echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range'
mkfifo "$work/ask"
at $world python3 "$top/test/killed/world.py" world in <"$work/ask" >"$work/seen" &
watcher=$!
echo $watcher >"$cgroup/cgroup.procs"
exec 9>"$work/ask"
until grep -q ready "$work/seen"; do sleep 0.02; done
# seen NAME: so many there were up to now
seen() {
  local lines
  lines=$(wc -l <"$work/seen")
  echo count >&9
  until [ "$(wc -l <"$work/seen")" -gt "$lines" ]; do sleep 0.02; done
  tail -n 1 "$work/seen" | sed -nE "s/.*\"$1\": ([0-9]+).*/\1/p"
}
none() { # none NAME: no such frame since the last boot began
  local now
  now=$(seen "$1")
  [ "$now" -eq 0 ] || { printf '%d frames: %s\n' "$now" "$(tail -n 1 "$work/seen" | cut -c -400)"; return 1; }
}

# ---------------------------------------------------------------- boots
allowed=0
more() { # Did the daemon's connections arrive again?
  local now
  now=$(seen allowed)
  [ "$now" -gt "$allowed" ] || return 1
  allowed=$now
}
within() { # within COMMAND…: true before long?
  local until=$((SECONDS + 60))
  until "$@"; do
    [ "$SECONDS" -lt "$until" ] && kill -0 "$container" 2>/dev/null || return 1
    sleep 0.2
  done
}
runs() { compgen -G "$root/test/$1.$boot.*.log" >/dev/null; }
for boot in 1 2 3; do
  printf '\n== boot %d\n' "$boot"
  echo "$boot" >"$root/test/boot"
  # 133: it wants to be booted again.
  ours nsenter --net=/proc/$agents/ns/net timeout 100 "${nspawn[@]}" --boot --bind-ro="$top:/sluice" \
    </dev/null >>"$work/console" 2>&1 &
  container=$!
  for agent in own named; do
    check "the agent starts, $agent" within runs $agent
  done
  check 'what is allowed arrives' within more
  # A second of tries, with everything in its place, then the power button.
  sleep 1
  echo "$boot" >"$root/test/reboot"
  status=0
  wait $container || status=$?
  check 'it went down to be booted again' test "$status" -eq 133
  check 'nothing else has arrived' none escapes
done
check 'and nothing was overlooked' none lost

# ---------------------------------------------------------------- what the agents say
# {"seconds":N,"tries":N,…
tail -qn 1 "$root"/test/*.log >"$work/said"
read -r runs tries seconds < <(awk -F'[:,]' '{ seconds += $2; tries += $4 } END { print NR, tries, int(seconds) }' "$work/said")
printf '%d tries of %d agents in %d s\n' "$tries" "$runs" "$seconds"
check 'there were a thousand tries a second' test "$tries" -ge $((1000 * seconds))
check 'by both agents in each boot' test "$runs" -ge 6
[ "$failed" -eq 0 ] || tail -n 60 "$work/console"
at $agents "$root/test/prober" 198.51.100.23 fd00:17::23 5433 5434 198.51.100.18 </dev/null >/dev/null
check 'the prober is seen outside of a session' test "$(seen escapes)" -gt 0
result
