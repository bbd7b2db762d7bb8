# shellcheck shell=bash
# A Debian of one's own, booted with systemd-nspawn on this kernel: sourced by the suites that need one. It leaves nothing.
#
#   machine NAME WHAT SIZE [ARG…]   checks that there can be one, and begins again in a mount namespace of its own. Sets work and
#                              root (on a tmpfs of SIZE), unified (cgroup v2) and cgroup (ours below it)
#   debian RELEASE PACKAGES    makes $root, of Debian's own repositories alone
#   ours COMMAND…              becomes COMMAND, in $cgroup: for what takes long, with & and wait, so that a signal ends it
#   starts                     sees whether "${nspawn[@]}" can run in $root; with --boot until it goes down, 133: to be booted again
#   accounts                   those of the package, in $root
#   installed                  the package's files in $root, from the build; nspawn then wants "${binds[@]}"
#   lives SECONDS [ARG…]       boots $root, with ARG, until it goes down for good or SECONDS are over, shows /test/said as it
#                              comes, and takes over what is counted in /test
# and what test/tally.sh has, for what is looked at from outside.

. "$top/test/mirror.sh"
# shellcheck source=test/tally.sh
. "$top/test/tally.sh"

machine() {
  name=$1 what=$2
  [ "$(uname -s)" = Linux ] || skip "this is $(uname -s)"
  [ "$(id -u)" = 0 ] || skip 'only root can boot one'
  command -v apt-get >/dev/null || skip 'this host has no apt-get, which knows the mirrors'
  [ -r /sys/kernel/btf/vmlinux ] || skip 'this kernel has no BTF'
  unified=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)
  [ -w "${unified:-/nowhere}" ] || skip 'there is no cgroup v2 here that can be written'
  # In a mount namespace of its own, what is mounted goes with the last process, even after kill -9.
  if [ -z "${SLUICE_MACHINE:-}" ]; then
    unshare --mount true 2>/dev/null || skip 'nothing can be mounted here'
    sh "$top/setup/ensure.sh" fresh || skip 'what makes one (setup/packages, profile fresh) could not be installed'
    command -v systemd-nspawn >/dev/null || skip 'there is no systemd-nspawn'
    bpftool prog list >/dev/null 2>&1 || skip 'bpf(2) is refused here'
    SLUICE_MACHINE=1 exec unshare --mount --propagation private bash "$0" "${@:4}"
  fi
  unset SLUICE_MACHINE
  work=/mnt
  root=$work/root
  cgroup=$unified/sluice-$name-$$
  mount -t tmpfs -o "mode=755,size=$3" "sluice-$name" "$work"
  trap clean EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  mkdir "$cgroup"
}

clean() {
  trap '' INT TERM HUP
  disown -a
  if [ -d "$cgroup" ]; then
    echo 1 >"$cgroup/cgroup.kill"
    while grep -q 'populated 1' "$cgroup/cgroup.events"; do sleep 0.1; done
    find "$cgroup" -depth -type d -exec rmdir {} +
  fi
  umount -l "$work"
}

ours() {
  echo "$BASHPID" >"$cgroup/cgroup.procs"
  exec "$@"
}

debian() {
  local release=$1
  mirror "$release" "$work"
  ours mmdebstrap --quiet --mode=root --variant=minbase --include="$2" \
    --aptopt="$work/apt.conf" --dpkgopt=force-unsafe-io "$release" "$root" "$work/sources.list" </dev/null &
  wait $! || skip 'no Debian could be made: see above'
}

# Where containers are forbidden none starts, whatever it is to do.
export SYSTEMD_SECCOMP=0 SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
nspawn=(setpriv --pdeathsig KILL systemd-nspawn --quiet --register=no --keep-unit --capability=all --system-call-filter=bpf
  --console=pipe --directory=/mnt/root)
starts() {
  ours timeout 60 "${nspawn[@]}" /bin/true </dev/null >"$work/console" 2>&1 &
  wait $! || skip "systemd-nspawn starts nothing here: $(tail -n 1 "$work/console")"
}

accounts() {
  systemd-sysusers --root="$root" "$top/systemd/sysusers.d/sluice.conf" 2>&1 | grep -v ^Creating || true
}

# What is large is bound.
installed() {
  local lib=/usr/lib/sluice native=$top/build/native
  mkdir -p "$root$lib/bin" "$root$lib/daemon" "$root$lib/node_modules" "$root/etc/sluice/policy" "$root/etc/sluice/agents"
  cp "$native"/sluice-helper "$native"/sluice-launch "$native"/sluice-probe "$native"/libsluice.so "$root$lib/"
  cp "$top/build/js/package.json" "$root$lib/"
  touch "$root$lib/bin/node"
  binds=("--bind-ro=$top/build/js/daemon:$lib/daemon" "--bind-ro=$top/node_modules:$lib/node_modules"
    "--bind-ro=$top/node_modules/node/bin/node:$lib/bin/node")
  printf '#!/bin/sh\nexec %s/bin/node %s/daemon/bin/sluice.js "$@"\n' $lib $lib >"$root/usr/bin/sluice"
  chmod 755 "$root/usr/bin/sluice"
  cp "$top"/systemd/*.service "$top"/systemd/*.slice "$root/usr/lib/systemd/system/"
  printf '{}\n' >"$root/etc/sluice/sluiced.json"
  accounts
}

lives() {
  local seconds=$1 boot from container status
  shift
  touch "$root/test/said"
  for boot in first second; do
    printf '\n== booted, %s time\n' "$boot"
    from=$(stat -c %s "$root/test/said")
    ours timeout "$seconds" "${nspawn[@]}" --boot "$@" </dev/null >>"$work/console" 2>&1 &
    container=$!
    # It ends after the machine, once it has shown everything.
    tail -c +$((from + 1)) --sleep-interval=0.2 --follow --pid=$container "$root/test/said" &
    status=0
    wait $container || status=$?
    wait $! || true
    # 133: it wants to be booted again.
    [ "$status" -eq 133 ] || break
  done
  if [ ! -e "$root/test/complete" ]; then
    tail -n 50 "$work/console"
    printf 'it ended with status %d\n' "$status"
  fi
  came_of "$root/test"
}
